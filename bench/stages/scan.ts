import { DEFAULT_SCAN_CAPS, scan } from '../../packages/gateway/src/protocol/json/scan.ts';
import { replaceFields, responseBytes } from '../../packages/gateway/src/protocol/json/splice.ts';
import { Field } from '../../packages/gateway/src/protocol/message.ts';
import { CALL_300 } from '../measure.ts';
import type { Stage } from '../stage.ts';

const call = Buffer.from(CALL_300);
const legacyCall = Buffer.from(
  '{"jsonrpc":"2.0","id":41,"method":"tools/call","params":{"name":"files__search","arguments":{"path":"/srv/data","query":"quarterly report","limit":100,"follow":true,"types":["pdf","docx","txt"],"filter":{"since":"2026-01-01","until":"2026-06-30","owner":"ada","size":4096}},"_meta":{"progressToken":"t-41"}}}',
);
const result = (text: string) =>
  Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, result: { content: [{ type: 'text', text }] } }));
const longText = result('The quick brown fox jumps over the lazy dog. '.repeat(2275));
const longLines = result('The quick brown fox says "jump" over the lazy dog.\n'.repeat(1965));
const rows = Buffer.from(
  JSON.stringify({
    jsonrpc: '2.0',
    id: 1,
    result: {
      content: [],
      structuredContent: {
        rows: Array.from({ length: 1400 }, (_, i) => ({
          id: i,
          name: `row ${i}`,
          value: i * 1.5,
          tags: ['a', 'b'],
          ok: true,
        })),
      },
    },
  }),
);

const message = scan(call, DEFAULT_SCAN_CAPS);
const smallResult = scan(result('ok'), DEFAULT_SCAN_CAPS);
const edits = [
  [Field.id, '1234567'],
  [Field.name, '"echo"'],
] as const;

export let sink = 0;

function scanning(name: string, body: Buffer): Stage {
  return {
    name: `scan: ${name} (${body.length} B)`,
    run(iterations) {
      for (let i = 0; i < iterations; i++) sink += scan(body, DEFAULT_SCAN_CAPS).spans[0]!;
    },
  };
}

export const stages: readonly Stage[] = [
  scanning('modern tools/call', call),
  scanning('tools/call with nested arguments', legacyCall),
  scanning('result with one long text', longText),
  scanning('result with many lines', longLines),
  scanning('result with 1400 rows', rows),
  {
    name: 'splice id and name into a 300 B call',
    run(iterations) {
      for (let i = 0; i < iterations; i++) sink += replaceFields(message, edits).length;
    },
  },
  {
    name: 'splice the id into a small result',
    run(iterations) {
      for (let i = 0; i < iterations; i++) sink += responseBytes(smallResult, '41').length;
    },
  },
];
