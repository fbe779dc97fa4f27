-- An envelope for live endpoints. KEYS: base key. ARGV: 1 time, 2 bound of an inbox, 3 envelope, 4 kind, 5 endpoint id
-- or ''. Returns how many nodes got it.
register('relay', function(keys, argv)
  begin(argv[2])
  at(keys[1], argv[1])
  local sent, count = {}, 0
  for id, endpoint in pairs((read_endpoints())) do
    if live(endpoint[1]) and endpoint[4] == argv[4] and (argv[5] == '' or argv[5] == id) and not sent[endpoint[3]] then
      sent[endpoint[3]] = true
      count = count + 1
      post(endpoint[3], argv[3])
    end
  end
  send_out()
  return count
end)
