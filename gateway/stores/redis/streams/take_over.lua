-- Make another process the one that runs a stream. KEYS: meta, its events, its events from now on.
-- ARGV: the process that runs it, the other one, the next epoch. Returns 0 if it is another process
-- that runs it: of several that try, one succeeds.
if redis.call("HGET", KEYS[1], "p") ~= ARGV[1] then return 0 end
redis.call("HSET", KEYS[1], "p", ARGV[2], "k", ARGV[3])
if redis.call("EXISTS", KEYS[2]) == 1 then redis.call("RENAME", KEYS[2], KEYS[3]) end
return 1
