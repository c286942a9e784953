/** Transformers that most gateways want some of the time. */
import type { JsonObject, RequestTransformer, ResponseTransformer } from './registry.ts';

/** Where `metadataTransformer` writes. */
const METADATA_KEY = 'tollgate/proxy';
/** What a redacted value becomes. */
const REDACTED = '[redacted]';

/**
 * A response transformer that says which call this was: request id (the one in logs and refusals), client id and
 * name of the proxy, under `_meta["tollgate/proxy"]`.
 */
export function metadataTransformer(proxy: string): ResponseTransformer {
  return (call, result) => {
    const { _meta } = result;
    const meta = typeof _meta === 'object' && _meta !== null && !Array.isArray(_meta) ? _meta : {};
    const { principal, decisionId } = call;
    const own = { requestId: decisionId, clientId: principal.clientId ?? principal.id, proxy };
    return { ...result, _meta: { ...meta, [METADATA_KEY]: own } };
  };
}

/**
 * A transformer, for requests or responses, that replaces the value of every member with one of these names, at any
 * depth, by `[redacted]`. Case and the signs `-` and `_` in names do not matter: `apiKey` is also `api_key`. It sees
 * structure, not prose: JSON inside a text stays.
 */
export function redactTransformer(fields: readonly string[]): RequestTransformer & ResponseTransformer {
  const names = new Set(fields.map(plain));
  if (names.size === 0 || names.has('')) throw new TypeError('redactTransformer needs the names of fields');
  return (_call, value) => (redact(value, names) ? value : undefined);
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[-_]/g, '');
}

/** Replaces in place; true when something was. Not recursive: what comes in may be deep. */
function redact(root: JsonObject, names: ReadonlySet<string>): boolean {
  let found = false;
  const open: object[] = [root];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const holder = at as JsonObject;
    const named = !Array.isArray(at);
    for (const key of Object.keys(holder)) {
      if (named && names.has(plain(key))) {
        holder[key] = REDACTED;
        found = true;
        continue;
      }
      const value = holder[key];
      // Numbers kept with their text are frozen objects that hold no members of the message.
      if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) open.push(value);
    }
  }
  return found;
}
