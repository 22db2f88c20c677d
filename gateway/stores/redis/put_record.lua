-- Keeps a record, its place in the index of its kind, and a new version of the kind; all at once.
-- KEYS: the record, the index, the version. ARGV: the record's key, its value, its time to live
-- in ms, or 0. Everything expires with the last record of its kind, unless one stays for ever.
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
redis.call('SET', KEYS[3], time[1] .. '.' .. time[2])
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
for key = 2, 3 do
  if last == 'inf' then
    redis.call('PERSIST', KEYS[key])
  else
    redis.call('PEXPIREAT', KEYS[key], last)
  end
end
return 1
