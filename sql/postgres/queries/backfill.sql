-- name: TakenSlots :many
-- Which of a policy's slots have a rotation.
SELECT slot::text AS slot FROM rotations
WHERE policy = sqlc.arg('policy') AND slot = ANY(sqlc.arg('slots')::text[]) AND slot IS NOT NULL;
