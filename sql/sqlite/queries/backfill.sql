-- name: TakenSlots :many
-- Which of a policy's slots have a rotation.
SELECT rotations.slot FROM json_each(sqlc.arg(slots)) AS wanted
CROSS JOIN rotations ON rotations.policy = sqlc.arg(policy) AND rotations.slot = wanted.value
WHERE rotations.slot IS NOT NULL;
