-- A heartbeat. KEYS[1] nodes. ARGV: 1 name, 2 incarnation, 3 record, 4 first. Returns 0 when the node was taken for
-- dead, or another incarnation took its name.
register('join', function(keys, argv)
  if argv[4] ~= '1' then
    local known = redis.call('HGET', keys[1], argv[1])
    if not known or cmsgpack.unpack(known).incarnation ~= argv[2] then
      return 0
    end
  end
  redis.call('HSET', keys[1], argv[1], argv[3])
  return 1
end)
