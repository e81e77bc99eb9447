-- What the two scripts that change API keys share (version 3).
--
-- A key, packed: 1 key_id user s<scopes> created expires revoked models hint name. `-` stands for never and for all models; models are
-- `=pattern,` each; models, hint and name are percent-encoded, so that only single spaces separate.

-- Answers all keys, as {hash, text, id, created, expires, revoked}, with false for never.
local function read_keys()
  local raw, keys = call('HGETALL', KEYRING), {}
  for i = 1, #raw, 2 do
    local id, created, expires, revoked = string.match(raw[i + 1], '^1 (%S+) %S+ %S+ (%d+) (%S+) (%S+) ')
    if not id then
      corrupt('an API key can not be read')
    end
    keys[#keys + 1] = {
      hash = raw[i],
      text = raw[i + 1],
      id = id,
      created = tonumber(created),
      expires = expires ~= '-' and tonumber(expires),
      revoked = revoked ~= '-' and tonumber(revoked),
    }
  end
  return keys
end
