-- name: EnqueueDeliveries :exec
-- Deliveries of webhooks that don't exist are left out, those that are there stay as they are, and those
-- of a webhook that wants nothing any more are parked at once.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), fresh AS MATERIALIZED (
    SELECT unnest(sqlc.arg('ids')::uuid[]) AS id, unnest(sqlc.arg('webhooks')::text[]) AS webhook, unnest(sqlc.arg('event_ids')::text[]) AS event_id,
        unnest(sqlc.arg('events')::text[]) AS event, unnest(sqlc.arg('order_keys')::text[]) AS order_key, unnest(sqlc.arg('bodies')::text[]) AS body,
        generate_series(1, cardinality(sqlc.arg('ids')::uuid[])) AS place
)
INSERT INTO deliveries (id, webhook, event_id, event, order_key, state, created_at, begun_at, next_at, finished_at, last_error, body)
SELECT n.id, n.webhook, n.event_id, n.event, n.order_key,
    CASE WHEN s.gone_generation = r.generation THEN 'parked' ELSE 'pending' END, clock.at, clock.at, clock.at,
    CASE WHEN s.gone_generation = r.generation THEN clock.at END, CASE WHEN s.gone_generation = r.generation THEN s.last_error ELSE '' END, n.body
FROM fresh n CROSS JOIN clock
JOIN resources r ON r.kind = 'Webhook' AND r.name = n.webhook
LEFT JOIN webhook_states s ON s.webhook = n.webhook
ORDER BY n.place
ON CONFLICT (webhook, event_id) DO NOTHING;

-- name: DueWebhooks :many
-- One look at an index for each webhook there is, whatever waits.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
)
SELECT r.name FROM resources r CROSS JOIN clock LEFT JOIN webhook_states s ON s.webhook = r.name
WHERE r.kind = 'Webhook' AND (s.held_until IS NULL OR s.held_until <= clock.at)
    AND EXISTS (SELECT 1 FROM deliveries d WHERE d.webhook = r.name AND d.state = 'pending' AND d.next_at <= clock.at)
ORDER BY r.name;

-- name: ClaimDeliveries :many
-- Of each order only the first that is left; of a webhook that fails only one at all. Whoever claims one
-- and dies leaves it to the next when next_at has come.
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), due AS MATERIALIZED (
    SELECT d.seq FROM deliveries d CROSS JOIN clock
    WHERE d.webhook = sqlc.arg('webhook')::text AND d.state = 'pending' AND d.next_at <= clock.at
        AND (d.order_key = '' OR NOT EXISTS (SELECT 1 FROM deliveries e
            WHERE e.webhook = d.webhook AND e.order_key = d.order_key AND e.order_key <> '' AND e.seq < d.seq AND e.state = 'pending'))
        AND NOT EXISTS (SELECT 1 FROM webhook_states s WHERE s.webhook = d.webhook AND s.held_until > clock.at)
    ORDER BY d.next_at, d.seq
    LIMIT CASE WHEN EXISTS (SELECT 1 FROM webhook_states s WHERE s.webhook = sqlc.arg('webhook')::text AND s.failures > 0)
        THEN 1 ELSE sqlc.arg('max')::integer END
    FOR UPDATE OF d SKIP LOCKED
), claimed AS (
    UPDATE deliveries d SET attempts = d.attempts + 1, claimed = true, next_at = clock.at + sqlc.arg('lease')::bigint * interval '1 microsecond'
    FROM due, clock WHERE d.seq = due.seq
    RETURNING d.*
)
SELECT * FROM claimed ORDER BY seq;

-- name: LockWebhookState :one
INSERT INTO webhook_states (webhook) VALUES (sqlc.arg('webhook'))
ON CONFLICT (webhook) DO UPDATE SET webhook = excluded.webhook
RETURNING *;

-- name: FinishDeliveries :execrows
WITH clock AS MATERIALIZED (
    SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at
), result AS MATERIALIZED (
    SELECT unnest(sqlc.arg('ids')::uuid[]) AS id, unnest(sqlc.arg('attempts')::integer[]) AS attempts, unnest(sqlc.arg('states')::text[]) AS state,
        unnest(sqlc.arg('afters')::bigint[]) AS after, unnest(sqlc.arg('statuses')::integer[]) AS status, unnest(sqlc.arg('errors')::text[]) AS error
)
UPDATE deliveries d SET state = n.state, claimed = false, last_status = n.status, last_error = n.error,
    next_at = CASE WHEN n.state = 'pending' THEN clock.at + n.after * interval '1 microsecond' ELSE d.next_at END,
    finished_at = CASE WHEN n.state <> 'pending' THEN clock.at END
FROM result n CROSS JOIN clock
WHERE d.id = n.id AND d.state = 'pending' AND d.claimed AND d.attempts = n.attempts;

-- name: WebhookTook :exec
UPDATE webhook_states SET failing_since = NULL, failures = 0, held_until = NULL, last_error = '', gone_generation = NULL,
    last_delivered_at = coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())
WHERE webhook = sqlc.arg('webhook');

-- name: WakeDeliveries :exec
-- What waits for another try does not wait any longer: the receiver is back.
UPDATE deliveries d SET next_at = coalesce(sqlc.narg('now')::timestamptz, clock_timestamp())
WHERE d.webhook = sqlc.arg('webhook') AND d.state = 'pending' AND NOT d.claimed AND d.next_at > coalesce(sqlc.narg('now')::timestamptz, clock_timestamp());

-- name: WebhookFailed :exec
UPDATE webhook_states s SET failing_since = coalesce(s.failing_since, clock.at), failures = s.failures + sqlc.arg('more')::integer,
    held_until = CASE WHEN sqlc.arg('hold')::bigint > 0 THEN clock.at + sqlc.arg('hold')::bigint * interval '1 microsecond' ELSE s.held_until END,
    last_error = sqlc.arg('error')::text,
    gone_generation = CASE WHEN sqlc.arg('gone')::boolean
        THEN (SELECT r.generation FROM resources r WHERE r.kind = 'Webhook' AND r.name = s.webhook) ELSE s.gone_generation END
FROM (SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at) clock
WHERE s.webhook = sqlc.arg('webhook');

-- name: ParkDeliveries :execrows
-- Parks what is pending and nobody sends, if it was begun longer than age ago.
UPDATE deliveries d SET state = 'parked', finished_at = clock.at, last_error = sqlc.arg('error')::text
FROM (SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at) clock
WHERE d.webhook = sqlc.arg('webhook') AND d.state = 'pending' AND NOT d.claimed
    AND d.begun_at <= clock.at - sqlc.arg('age')::bigint * interval '1 microsecond';

-- name: EndDeliveries :execrows
-- Ends what is for a webhook that is not there any more, or another by the same name.
UPDATE deliveries d SET state = 'ended', claimed = false, finished_at = coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()),
    last_error = 'the webhook was removed'
WHERE d.state = 'pending' AND NOT EXISTS (SELECT 1 FROM resources r WHERE r.kind = 'Webhook' AND r.name = d.webhook AND r.created_at <= d.created_at);

-- name: ForgetWebhooks :exec
DELETE FROM webhook_states s WHERE NOT EXISTS (SELECT 1 FROM resources r WHERE r.kind = 'Webhook' AND r.name = s.webhook);

-- name: PruneDeliveries :execrows
DELETE FROM deliveries d WHERE d.seq IN (SELECT o.seq FROM deliveries o
    WHERE o.state IN ('delivered', 'ended')
        AND o.finished_at < coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) - sqlc.arg('age')::bigint * interval '1 microsecond'
    ORDER BY o.finished_at LIMIT sqlc.arg('max'));

-- name: Deliveries :many
SELECT d.seq, d.id, d.webhook, d.event_id, d.event, d.order_key, d.state, d.attempts, d.claimed, d.created_at, d.begun_at, d.next_at,
    d.finished_at, d.last_status, d.last_error
FROM deliveries d
WHERE (sqlc.arg('webhook')::text = '' OR d.webhook = sqlc.arg('webhook')) AND (sqlc.arg('state')::text = '' OR d.state = sqlc.arg('state'))
    AND (sqlc.narg('after')::uuid IS NULL OR d.seq < (SELECT a.seq FROM deliveries a WHERE a.id = sqlc.narg('after')))
ORDER BY d.seq DESC LIMIT sqlc.arg('max');

-- name: Delivery :one
SELECT * FROM deliveries WHERE id = sqlc.arg('id');

-- name: ReplayDelivery :execrows
UPDATE deliveries d SET state = 'pending', attempts = 0, claimed = false, finished_at = NULL, begun_at = clock.at, next_at = clock.at
FROM (SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at) clock
WHERE d.id = sqlc.arg('id') AND (d.state <> 'pending' OR NOT d.claimed)
    AND EXISTS (SELECT 1 FROM resources r WHERE r.kind = 'Webhook' AND r.name = d.webhook AND r.created_at <= d.created_at);

-- name: ReplayParked :execrows
-- What a later one of the same order has overtaken stays parked: it would say again what is over.
UPDATE deliveries d SET state = 'pending', attempts = 0, finished_at = NULL, begun_at = clock.at, next_at = clock.at
FROM (SELECT coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) AS at) clock
WHERE d.webhook = sqlc.arg('webhook') AND d.state = 'parked'
    AND (d.order_key = '' OR NOT EXISTS (SELECT 1 FROM deliveries e
        WHERE e.webhook = d.webhook AND e.order_key = d.order_key AND e.order_key <> '' AND e.seq > d.seq AND e.state = 'delivered'));

-- name: FreeWebhook :exec
-- A person wants it to be tried again.
UPDATE webhook_states SET held_until = NULL, gone_generation = NULL WHERE webhook = sqlc.arg('webhook');

-- name: WebhookStates :many
SELECT r.name, s.failing_since, s.held_until, coalesce(s.last_error, '')::text AS last_error, s.last_delivered_at,
    coalesce(s.gone_generation = r.generation, false)::boolean AS gone,
    (SELECT count(*) FROM deliveries d WHERE d.webhook = r.name AND d.state = 'pending') AS pending,
    (SELECT count(*) FROM deliveries d WHERE d.webhook = r.name AND d.state = 'parked') AS parked
FROM resources r LEFT JOIN webhook_states s ON s.webhook = r.name
WHERE r.kind = 'Webhook' ORDER BY r.name;

-- name: HookRequestOfEvent :one
SELECT * FROM hook_requests WHERE hook = sqlc.arg('hook') AND event_id = sqlc.arg('event_id');

-- name: SaveHookRequest :execrows
INSERT INTO hook_requests (id, hook, received_at, event_id, event, status, verdict, reason, rotation_id, excerpt, remote)
VALUES (sqlc.arg('id'), sqlc.arg('hook'), coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()), sqlc.arg('event_id'), sqlc.arg('event'),
    sqlc.arg('status'), sqlc.arg('verdict'), sqlc.arg('reason'), sqlc.narg('rotation_id'), sqlc.arg('excerpt'), sqlc.arg('remote'))
ON CONFLICT (hook, event_id) DO NOTHING;

-- name: PruneHookRequests :execrows
DELETE FROM hook_requests h WHERE h.seq IN (SELECT o.seq FROM (SELECT f.seq, f.received_at FROM hook_requests f ORDER BY f.seq LIMIT sqlc.arg('max')) o
    WHERE o.received_at < coalesce(sqlc.narg('now')::timestamptz, clock_timestamp()) - sqlc.arg('age')::bigint * interval '1 microsecond');

-- name: HookRequests :many
SELECT * FROM hook_requests h
WHERE (sqlc.arg('hook')::text = '' OR h.hook = sqlc.arg('hook'))
    AND (sqlc.narg('after')::uuid IS NULL OR h.seq < (SELECT a.seq FROM hook_requests a WHERE a.id = sqlc.narg('after')))
ORDER BY h.seq DESC LIMIT sqlc.arg('max');

-- name: FailingWebhooks :many
-- Webhooks whose receiver takes nothing since before, or for ever, and those that something is parked for
-- which no later delivery of its order has overtaken. What a paused one does not take is no failure.
WITH parked AS MATERIALIZED (
    SELECT r.name, count(p.finished_at) AS lost, min(p.finished_at) AS since
    FROM resources r CROSS JOIN LATERAL (SELECT d.finished_at FROM deliveries d
        WHERE d.webhook = r.name AND d.state = 'parked'
            AND (d.order_key = '' OR NOT EXISTS (SELECT 1 FROM deliveries e
                WHERE e.webhook = d.webhook AND e.order_key = d.order_key AND e.order_key <> '' AND e.seq > d.seq AND e.state = 'delivered'))
        ORDER BY d.seq LIMIT 1000) p
    WHERE r.kind = 'Webhook' GROUP BY r.name
)
SELECT r.name, coalesce(s.failing_since, p.since)::timestamptz AS since, coalesce(s.last_error, '')::text AS last_error, coalesce(p.lost, 0)::bigint AS lost,
    coalesce(s.gone_generation = r.generation, false)::boolean AS gone,
    coalesce(s.failing_since <= sqlc.arg('before')::timestamptz, false)::boolean AS failing
FROM resources r LEFT JOIN webhook_states s ON s.webhook = r.name LEFT JOIN parked p ON p.name = r.name
WHERE r.kind = 'Webhook' AND (p.lost > 0 OR s.gone_generation = r.generation
    OR s.failing_since <= sqlc.arg('before')::timestamptz AND coalesce(r.spec ->> 'paused', 'false') <> 'true')
ORDER BY r.name LIMIT sqlc.arg('max');
