-- Removes answers. KEYS: times of use, times of expiry, descriptions, bytes in use. ARGV: prefix of
-- answers, then their keys. Returns the number that was there, and the bytes in use.
local total = tonumber(redis.call('GET', KEYS[4]) or '0')
local removed = 0
for index = 2, #ARGV do
  local key = ARGV[index]
  local about = redis.call('HGET', KEYS[3], key)
  if about then
    total = total - tonumber(string.match(about, '^%d+'))
    removed = removed + redis.call('UNLINK', ARGV[1] .. key)
  end
  redis.call('ZREM', KEYS[1], key)
  redis.call('ZREM', KEYS[2], key)
  redis.call('HDEL', KEYS[3], key)
end
redis.call('SET', KEYS[4], total)
return {removed, total}
