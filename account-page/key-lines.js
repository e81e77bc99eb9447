// Lines that work with a key as they are.

import { settings } from './settings.js';

/** @typedef {{name: string, text: string}} Lines */

/** Where inference-service is, as far as this page knows. */
export function inferenceUrl() {
  return settings().inference_url ?? `${location.protocol}//${location.hostname}:50052`;
}

/**
 * @param {string} key
 * @param {string} model
 * @returns {Lines[]}
 */
export function keyLines(key, model) {
  const url = inferenceUrl();
  const call = { model, messages: [{ role: 'user', content: 'Say hello in five words.' }] };
  // JSON's text in double quotes is Python's too.
  const [KEY, URL_, V1, MODEL] = [key, url, `${url}/v1`, model].map((text) => JSON.stringify(text));
  return [
    {
      name: 'curl',
      text: `curl ${quoted(`${url}/v1/chat/completions`)} \\
  -H ${quoted(`Authorization: Bearer ${key}`)} -H 'Content-Type: application/json' \\
  -d ${quoted(JSON.stringify(call))}`,
    },
    {
      name: 'Python, with the tollgate-client package',
      text: `from tollgate import Tollgate

with Tollgate(key=${KEY}, url=${URL_}) as tollgate:
    for piece in tollgate.chat(${MODEL}, "Say hello in five words."):
        print(piece, end="", flush=True)`,
    },
    {
      name: 'Python, without a package',
      text: `import json, urllib.request

request = urllib.request.Request(
    ${JSON.stringify(`${url}/v1/chat/completions`)},
    json.dumps(${JSON.stringify(call)}).encode(),
    {"Authorization": ${JSON.stringify(`Bearer ${key}`)}, "Content-Type": "application/json"},
)
print(json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"])`,
    },
    {
      name: 'OpenAI SDK',
      text: `from openai import OpenAI

client = OpenAI(base_url=${V1}, api_key=${KEY})
answer = client.chat.completions.create(**${JSON.stringify(call)})
print(answer.choices[0].message.content)`,
    },
    {
      name: 'tollgate, the command',
      text: `export TOLLGATE_AUTH_URL=${quoted(location.origin)} TOLLGATE_URL=${quoted(url)}
export TOLLGATE_API_KEY=${key}
tollgate chat ${quoted(model)} 'Say hello in five words.'
tollgate balance`,
    },
    {
      name: 'A profile, for ~/.config/tollgate/config.yaml',
      text: `default:
  key: ${key}
  url: ${URL_}
  auth_url: ${JSON.stringify(location.origin)}`,
    },
  ];
}

/**
 * A word of a shell.
 * @param {string} text
 */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
