-- An envelope for every living node. KEYS[1] nodes. ARGV: 1 oldest heartbeat in seconds, 2 bound, 3 envelope,
-- 4 the only node that gets it, or ''.
register('broadcast', function(keys, argv)
  local flat = redis.call('HGETALL', keys[1])
  for i = 1, #flat, 2 do
    if (argv[4] == '' or argv[4] == flat[i]) and cmsgpack.unpack(flat[i + 1]).beat >= tonumber(argv[1]) then
      redis.call('XADD', 't:inbox:' .. flat[i], 'MAXLEN', '~', argv[2], '*', '1', argv[3])
    end
  end
  return 1
end)
