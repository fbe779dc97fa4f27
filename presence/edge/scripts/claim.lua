-- Take addresses that are due. KEYS: 1 leases, 2 messages, 3 claimed. ARGV: 1 now, 2 limit. What is taken stays in
-- `claimed` until it is handled; if its taker dies, it is due again after a minute.
register('claim', function(keys, argv)
  local time, limit = tonumber(argv[1]), tonumber(argv[2])
  local found, listed = {}, {}
  for _, key in ipairs({ keys[3], keys[1], keys[2] }) do
    if #found < limit then
      for _, address in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', time, 'LIMIT', 0, limit - #found)) do
        redis.call('ZREM', key, address)
        redis.call('ZADD', keys[3], time + 60000, address)
        if not listed[address] then
          listed[address] = true
          found[#found + 1] = address
        end
      end
    end
  end
  return found
end)
