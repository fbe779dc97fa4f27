-- The database knows of a room up to a version. KEYS[1] what it has to be told. ARGV: 1 room, 2 version.
register('saved', function(keys, argv)
  local waits = redis.call('HGET', keys[1], argv[1])
  if waits and tonumber(waits) <= tonumber(argv[2]) then
    redis.call('HDEL', keys[1], argv[1])
  end
  return 1
end)
