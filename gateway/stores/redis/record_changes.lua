-- Returns the records of a kind that were put since a mark.
-- KEYS: the version of the kind, the changed records by number, the state of the changes.
-- ARGV: the mark, or an empty text.
-- Returns the new mark, 1 if the changed records are known, otherwise 0, and their keys.
local version = redis.call('GET', KEYS[1]) or ''
local number = tonumber(redis.call('HGET', KEYS[3], 'number') or 0)
local mark = number .. ':' .. version
if ARGV[1] == mark then return {mark, 1, {}} end
local since = tonumber(string.match(ARGV[1], '^(%d+):') or -1)
local floor = tonumber(redis.call('HGET', KEYS[3], 'floor') or 0)
if (redis.call('HGET', KEYS[3], 'version') or '') ~= version or since < floor or since > number then
  return {mark, 0, {}}
end
return {mark, 1, redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. since, '+inf')}
