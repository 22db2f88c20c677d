-- Stores an answer, and evicts the least recently used until all fit into the cap.
-- KEYS: times of use, times of expiry, descriptions, bytes in use. ARGV: prefix of answers, key,
-- value, time to live in ms, size, description, cap in bytes. An empty key stores nothing: the
-- script then only removes what has expired. Returns the bytes in use, and the answers evicted.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local total = tonumber(redis.call('GET', KEYS[4]) or '0')
local function drop(key)
  local about = redis.call('HGET', KEYS[3], key)
  if about then
    total = total - tonumber(string.match(about, '^%d+'))
  end
  redis.call('UNLINK', ARGV[1] .. key)
  redis.call('ZREM', KEYS[1], key)
  redis.call('ZREM', KEYS[2], key)
  redis.call('HDEL', KEYS[3], key)
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now_ms, 'LIMIT', 0, 200)) do
  drop(key)
end
local evicted = 0
local size, cap = tonumber(ARGV[5]), tonumber(ARGV[7])
if ARGV[2] ~= '' then
  drop(ARGV[2])
  if size <= cap then
    while total + size > cap do
      local oldest = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
      if not oldest then
        total = 0
        break
      end
      drop(oldest)
      evicted = evicted + 1
    end
    local ttl_ms = tonumber(ARGV[4])
    redis.call('SET', ARGV[1] .. ARGV[2], ARGV[3], 'PX', ttl_ms)
    redis.call('ZADD', KEYS[1], time[1] * 1000000 + time[2], ARGV[2])
    redis.call('ZADD', KEYS[2], now_ms + ttl_ms, ARGV[2])
    redis.call('HSET', KEYS[3], ARGV[2], ARGV[5] .. ' ' .. ARGV[6])
    total = total + size
  end
end
redis.call('SET', KEYS[4], total)
for index = 1, 4 do
  redis.call('EXPIRE', KEYS[index], 31 * 86400)  -- no answer is kept for longer
end
return {total, evicted}
