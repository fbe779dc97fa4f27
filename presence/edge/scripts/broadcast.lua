-- An envelope for every living node. KEYS[1] nodes. ARGV: 1 oldest heartbeat in seconds, 2 bound, 3 envelope.
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  if cmsgpack.unpack(flat[i + 1]).beat >= tonumber(ARGV[1]) then
    redis.call('XADD', 't:inbox:' .. flat[i], 'MAXLEN', '~', ARGV[2], '*', '1', ARGV[3])
  end
end
return 1
