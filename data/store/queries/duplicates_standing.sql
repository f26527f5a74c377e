-- What is still compared: of questions each pair, where people's ones cannot lose; else each unit.
CREATE OR REPLACE TEMP TABLE ranked AS
SELECT id, 10 * mixed::INTEGER + tier AS tier, true AS can_lose, place FROM units
WHERE NOT $questions AND id NOT IN (SELECT id FROM outcomes WHERE other_id IS NOT NULL)
UNION ALL
SELECT m.id, m.tier, m.tier > 0, row_number() OVER (ORDER BY m.tier, u.place, m.id)
FROM members m JOIN units u USING (unit)
WHERE $questions AND u.id NOT IN (SELECT id FROM outcomes WHERE other_id IS NOT NULL);
