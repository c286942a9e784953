import type { Catalog, CompletionRef } from '../catalog/catalog.ts';
import { TollgateError } from '../core/errors.ts';
import { isObject } from '../protocol/bridge/meta.ts';
import type { Call } from '../protocol/call.ts';
import { encode } from '../protocol/json/splice.ts';
import { Field } from '../protocol/message.ts';
import type { Target, TargetResolver } from './targets.ts';

/**
 * Where a `completion/complete` goes: the owner of the prompt or template that its `ref` names. A prompt that is
 * advertised under another name is asked for by the server's own.
 */
export function completionTarget(call: Call, catalog: Catalog, targets: TargetResolver): Target {
  const params = call.message.json(Field.params);
  const ref = isObject(params) && isObject(params['ref']) ? (params['ref'] as CompletionRef) : undefined;
  if (!isObject(params) || ref === undefined) {
    throw new TollgateError('invalid_params', 'completion/complete needs params.ref, an object');
  }
  const entry = catalog.completion(ref);
  if (entry === undefined) {
    // The very answer of what is hidden from this caller.
    if (ref.type === 'ref/prompt' && typeof ref.name === 'string') targets.prompt(ref.name, call.principal);
    if (ref.type === 'ref/resource' && typeof ref.uri === 'string') targets.resource(ref.uri, call.principal);
    throw new TollgateError('unknown_name', 'The prompt or resource of params.ref is unknown');
  }
  const target = targets.entry(entry, call.principal);
  if (entry.kind === 'prompts' && entry.target !== undefined) {
    const body = { ...call.message.object(), params: { ...params, ref: { ...ref, name: entry.upstreamName } } };
    call.outbound = encode(body);
  }
  return target;
}
