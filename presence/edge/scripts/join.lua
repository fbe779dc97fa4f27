-- A heartbeat. KEYS[1] nodes. ARGV: 1 name, 2 incarnation, 3 record, 4 first. Returns 0 when the node was taken for
-- dead, or another incarnation took its name.
if ARGV[4] ~= '1' then
  local known = redis.call('HGET', KEYS[1], ARGV[1])
  if not known or cmsgpack.unpack(known).incarnation ~= ARGV[2] then
    return 0
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
