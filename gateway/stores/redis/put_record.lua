-- Keeps a record, its place in the index of its kind, a new version of the kind, and its place in the
-- changes; all at once.
-- KEYS: the record, the index, the version, the changed records by number, the state of the changes.
-- ARGV: the record's key, its value, its time to live in ms, or 0, how many changes are kept, whether
-- the present value is compared (1 or 0), whether there has to be one, and what it has to be.
-- Returns 1 if the record was stored.
-- Everything expires with the last record of its kind, unless one stays for ever.
if ARGV[5] == '1' then
  local present = redis.call('GET', KEYS[1])
  if ARGV[6] == '1' then
    if present ~= ARGV[7] then return 0 end
  elseif present then
    return 0
  end
end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl_ms = tonumber(ARGV[3])
local expires_at = '+inf'
if ttl_ms > 0 then
  expires_at = now_ms + ttl_ms
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ttl_ms)
else
  redis.call('SET', KEYS[1], ARGV[2])
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms)
redis.call('ZADD', KEYS[2], expires_at, ARGV[1])
-- An earlier version of the gateway sets the version only: then the changes are not known.
local known = redis.call('HGET', KEYS[5], 'version') == redis.call('GET', KEYS[3])
local version = time[1] .. '.' .. time[2]
redis.call('SET', KEYS[3], version)
local number = redis.call('HINCRBY', KEYS[5], 'number', 1)
if not known then
  redis.call('DEL', KEYS[4])
  redis.call('HSET', KEYS[5], 'floor', number)
end
redis.call('HSET', KEYS[5], 'version', version)
redis.call('ZADD', KEYS[4], number, ARGV[1])
local excess = redis.call('ZCARD', KEYS[4]) - tonumber(ARGV[4])
if excess > 0 then
  redis.call('HSET', KEYS[5], 'floor', redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2])
  redis.call('ZREMRANGEBYRANK', KEYS[4], 0, excess - 1)
end
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
for key = 2, 5 do
  if last == 'inf' then
    redis.call('PERSIST', KEYS[key])
  else
    redis.call('PEXPIREAT', KEYS[key], last)
  end
end
return 1
