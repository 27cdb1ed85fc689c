-- name: EnqueueDelivery :exec
-- Of a webhook that does not exist it is left out, if it is there it stays as it is, and of a webhook that
-- wants nothing any more it is parked at once.
INSERT INTO deliveries (id, webhook, event_id, event, order_key, state, created_at, begun_at, next_at, finished_at, last_error, body)
SELECT sqlc.arg(id), resources.name, sqlc.arg(event_id), sqlc.arg(event), sqlc.arg(order_key),
    CASE WHEN webhook_states.gone_generation = resources.generation THEN 'parked' ELSE 'pending' END,
    sqlc.arg(now), sqlc.arg(now), sqlc.arg(now),
    CASE WHEN webhook_states.gone_generation = resources.generation THEN sqlc.arg(now) END,
    CASE WHEN webhook_states.gone_generation = resources.generation THEN webhook_states.last_error ELSE '' END, sqlc.arg(body)
FROM resources LEFT JOIN webhook_states ON webhook_states.webhook = resources.name
WHERE resources.kind = 'Webhook' AND resources.name = sqlc.arg(webhook)
ON CONFLICT (webhook, event_id) DO NOTHING;

-- name: DueWebhooks :many
SELECT resources.name FROM resources LEFT JOIN webhook_states ON webhook_states.webhook = resources.name
WHERE resources.kind = 'Webhook' AND (webhook_states.held_until IS NULL OR webhook_states.held_until <= sqlc.arg(now))
    AND EXISTS (SELECT 1 FROM deliveries WHERE deliveries.webhook = resources.name AND deliveries.state = 'pending' AND deliveries.next_at <= sqlc.arg(now))
ORDER BY resources.name;

-- name: DueDeliveries :many
-- Of each order only the first that is left.
SELECT d.* FROM deliveries AS d
WHERE d.webhook = sqlc.arg(webhook) AND d.state = 'pending' AND d.next_at <= sqlc.arg(now)
    AND (d.order_key = '' OR NOT EXISTS (SELECT 1 FROM deliveries AS e
        WHERE e.webhook = d.webhook AND e.order_key = d.order_key AND e.order_key <> '' AND e.seq < d.seq AND e.state = 'pending'))
ORDER BY d.next_at, d.seq LIMIT sqlc.arg(max_rows);

-- name: ClaimDelivery :exec
UPDATE deliveries SET attempts = attempts + 1, claimed = 1, next_at = sqlc.arg(until) WHERE seq = sqlc.arg(seq);

-- name: WebhookState :one
SELECT * FROM webhook_states WHERE webhook = sqlc.arg(webhook);

-- name: SetWebhookState :exec
INSERT INTO webhook_states (webhook, failing_since, failures, held_until, last_error, last_delivered_at, gone_generation)
VALUES (sqlc.arg(webhook), sqlc.arg(failing_since), sqlc.arg(failures), sqlc.arg(held_until), sqlc.arg(last_error), sqlc.arg(last_delivered_at), sqlc.arg(gone_generation))
ON CONFLICT (webhook) DO UPDATE SET failing_since = excluded.failing_since, failures = excluded.failures, held_until = excluded.held_until,
    last_error = excluded.last_error, last_delivered_at = excluded.last_delivered_at, gone_generation = excluded.gone_generation;

-- name: FinishDelivery :execrows
UPDATE deliveries SET state = sqlc.arg(state), claimed = 0, last_status = sqlc.arg(last_status), last_error = sqlc.arg(last_error),
    next_at = coalesce(sqlc.narg(next_at), next_at), finished_at = sqlc.narg(finished_at)
WHERE id = sqlc.arg(id) AND state = 'pending' AND claimed = 1 AND attempts = sqlc.arg(attempts);

-- name: WakeDeliveries :exec
-- What waits for another try does not wait any longer: the receiver is back.
UPDATE deliveries SET next_at = sqlc.arg(now)
WHERE webhook = sqlc.arg(webhook) AND state = 'pending' AND claimed = 0 AND next_at > sqlc.arg(now);

-- name: ParkDeliveries :execrows
-- Parks what is pending and nobody sends, if it was begun before.
UPDATE deliveries SET state = 'parked', finished_at = sqlc.arg(now), last_error = sqlc.arg(last_error)
WHERE webhook = sqlc.arg(webhook) AND state = 'pending' AND claimed = 0 AND begun_at <= sqlc.arg(before);

-- name: EndDeliveries :execrows
-- Ends what is for a webhook that is not there any more, or another by the same name.
UPDATE deliveries SET state = 'ended', claimed = 0, finished_at = sqlc.arg(now), last_error = 'the webhook was removed'
WHERE state = 'pending' AND NOT EXISTS (SELECT 1 FROM resources
    WHERE resources.kind = 'Webhook' AND resources.name = deliveries.webhook AND resources.created_at <= deliveries.created_at);

-- name: ForgetWebhooks :exec
DELETE FROM webhook_states WHERE NOT EXISTS (SELECT 1 FROM resources WHERE resources.kind = 'Webhook' AND resources.name = webhook_states.webhook);

-- name: PruneDeliveries :execrows
DELETE FROM deliveries WHERE seq IN (SELECT o.seq FROM deliveries AS o
    WHERE o.state IN ('delivered', 'ended') AND o.finished_at < sqlc.arg(before) ORDER BY o.finished_at LIMIT sqlc.arg(max_rows));

-- name: Deliveries :many
SELECT d.seq, d.id, d.webhook, d.event_id, d.event, d.order_key, d.state, d.attempts, d.claimed, d.created_at, d.begun_at, d.next_at,
    d.finished_at, d.last_status, d.last_error
FROM deliveries AS d
WHERE (sqlc.arg(webhook) = '' OR d.webhook = sqlc.arg(webhook)) AND (sqlc.arg(state) = '' OR d.state = sqlc.arg(state))
    AND (sqlc.arg(after) = '' OR d.seq < (SELECT a.seq FROM deliveries AS a WHERE a.id = sqlc.arg(after)))
ORDER BY d.seq DESC LIMIT sqlc.arg(max_rows);

-- name: Delivery :one
SELECT * FROM deliveries WHERE id = sqlc.arg(id);

-- name: ReplayDelivery :execrows
UPDATE deliveries SET state = 'pending', attempts = 0, claimed = 0, finished_at = NULL, begun_at = sqlc.arg(now), next_at = sqlc.arg(now)
WHERE id = sqlc.arg(id) AND (state <> 'pending' OR claimed = 0) AND EXISTS (SELECT 1 FROM resources
    WHERE resources.kind = 'Webhook' AND resources.name = deliveries.webhook AND resources.created_at <= deliveries.created_at);

-- name: ReplayParked :execrows
-- What a later one of the same order has overtaken stays parked: it would say again what is over.
UPDATE deliveries SET state = 'pending', attempts = 0, finished_at = NULL, begun_at = sqlc.arg(now), next_at = sqlc.arg(now)
WHERE deliveries.webhook = sqlc.arg(webhook) AND deliveries.state = 'parked'
    AND (deliveries.order_key = '' OR NOT EXISTS (SELECT 1 FROM deliveries AS e
        WHERE e.webhook = deliveries.webhook AND e.order_key = deliveries.order_key AND e.order_key <> '' AND e.seq > deliveries.seq AND e.state = 'delivered'));

-- name: FreeWebhook :exec
-- A person wants it to be tried again.
UPDATE webhook_states SET held_until = NULL, gone_generation = NULL WHERE webhook = sqlc.arg(webhook);

-- name: WebhookStates :many
SELECT resources.name, resources.generation, webhook_states.failing_since, webhook_states.held_until, webhook_states.last_error,
    webhook_states.last_delivered_at, webhook_states.gone_generation,
    (SELECT count(*) FROM deliveries AS p WHERE p.webhook = resources.name AND p.state = 'pending') AS pending,
    (SELECT count(*) FROM deliveries AS k WHERE k.webhook = resources.name AND k.state = 'parked') AS parked
FROM resources LEFT JOIN webhook_states ON webhook_states.webhook = resources.name
WHERE resources.kind = 'Webhook' ORDER BY resources.name;

-- name: HookRequestOfEvent :one
SELECT * FROM hook_requests WHERE hook = sqlc.arg(hook) AND event_id = sqlc.arg(event_id);

-- name: SaveHookRequest :execrows
INSERT INTO hook_requests (id, hook, received_at, event_id, event, status, verdict, reason, rotation_id, excerpt, remote)
VALUES (sqlc.arg(id), sqlc.arg(hook), sqlc.arg(received_at), sqlc.arg(event_id), sqlc.arg(event), sqlc.arg(status), sqlc.arg(verdict),
    sqlc.arg(reason), sqlc.arg(rotation_id), sqlc.arg(excerpt), sqlc.arg(remote))
ON CONFLICT (hook, event_id) DO NOTHING;

-- name: HookRequests :many
SELECT h.* FROM hook_requests AS h
WHERE (sqlc.arg(hook) = '' OR h.hook = sqlc.arg(hook))
    AND (sqlc.arg(after) = '' OR h.seq < (SELECT a.seq FROM hook_requests AS a WHERE a.id = sqlc.arg(after)))
ORDER BY h.seq DESC LIMIT sqlc.arg(max_rows);
