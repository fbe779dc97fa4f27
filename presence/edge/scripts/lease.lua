-- Take or keep a lease. KEYS[1] lease. ARGV: 1 holder, 2 milliseconds. Returns 1, or 0 when another holds it.
register('lease', function(keys, argv)
  local holder = redis.call('GET', keys[1])
  if holder and holder ~= argv[1] then
    return 0
  end
  redis.call('SET', keys[1], argv[1], 'PX', argv[2])
  return 1
end)
