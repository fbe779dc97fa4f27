-- Make a record a node's own, whichever node kept it; that one is told. KEYS[1] nodes that keep records. ARGV: 1 node,
-- 2 key, 3 bound of an inbox, 4 envelope. Returns the record, or nil where nobody has it.
register('take', function(keys, argv)
  begin(argv[3])
  local own, key = 't:node:' .. argv[1] .. ':records', argv[2]
  local found = call('HGET', own, key)
  if found then
    return found
  end
  for _, node in ipairs(call('SMEMBERS', keys[1])) do
    local records = 't:node:' .. node .. ':records'
    found = call('HGET', records, key)
    if found then
      call('HDEL', records, key)
      call('HSET', own, key, found)
      call('SADD', keys[1], argv[1])
      post(node, argv[4])
      send_out()
      return found
    elseif call('EXISTS', records) == 0 then
      call('SREM', keys[1], node)
    end
  end
  return nil
end)
