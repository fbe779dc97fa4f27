-- Take addresses that are due. KEYS: 1 leases, 2 messages, 3 claimed. ARGV: 1 now, 2 limit. What is taken stays in
-- `claimed` until it is handled; if its taker dies, it is due again after a minute.
local now, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local found, listed = {}, {}
for _, key in ipairs({ KEYS[3], KEYS[1], KEYS[2] }) do
  if #found < limit then
    for _, address in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, limit - #found)) do
      redis.call('ZREM', key, address)
      redis.call('ZADD', KEYS[3], now + 60000, address)
      if not listed[address] then
        listed[address] = true
        found[#found + 1] = address
      end
    end
  end
end
return found
