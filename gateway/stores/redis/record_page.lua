-- Returns the keys of the records after one key that do not expire, in order of their keys.
-- KEYS: the index. ARGV: the key after which to begin, which need not exist, and how many to return.
-- Records that do not expire have the same score, so that the index has them in order. The key is put
-- among them for a moment, to find its place.
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], '+inf', ARGV[1])
local place = redis.call('ZRANK', KEYS[1], ARGV[1])
local found = redis.call('ZRANGE', KEYS[1], place + 1, place + tonumber(ARGV[2]))
if before then
  redis.call('ZADD', KEYS[1], before, ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return found
