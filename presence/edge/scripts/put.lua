-- Write records of a node, but those that another node keeps. KEYS[1] nodes that keep records. ARGV: 1 node, then key and
-- value in turn. Returns the keys of what was not written.
register('put', function(keys, argv)
  local own, others, kept = 't:node:' .. argv[1] .. ':records', nil, {}
  local function elsewhere(key)
    others = others or redis.call('SMEMBERS', keys[1])
    for _, node in ipairs(others) do
      if node ~= argv[1] and redis.call('HEXISTS', 't:node:' .. node .. ':records', key) == 1 then
        return true
      end
    end
    return false
  end
  for i = 2, #argv, 2 do
    if redis.call('HEXISTS', own, argv[i]) == 0 and elsewhere(argv[i]) then
      kept[#kept + 1] = argv[i]
    else
      redis.call('HSET', own, argv[i], argv[i + 1])
    end
  end
  redis.call('SADD', keys[1], argv[1])
  return kept
end)
