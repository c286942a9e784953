import * as z from 'zod';
import { formats, isSecret } from './schema/kit.ts';
import { limit } from './schema/limits.ts';
import { configSchema } from './schema.ts';

/** The JSON Schema of `tollgate.yaml` for editors (draft 7, the one that editors read). */
export function configJsonSchema(): Record<string, unknown> {
  const { $schema, ...schema } = z.toJSONSchema(configSchema, {
    io: 'input',
    target: 'draft-07',
    override({ zodSchema, jsonSchema }) {
      const format = formats.get(zodSchema);
      if (format !== undefined && jsonSchema.type === 'string') {
        jsonSchema.examples = [format.example];
        // A variable may stand wherever a text may; its value is checked when it is known.
        if (format.pattern !== undefined) jsonSchema.pattern = `(${format.pattern})|\\$\\{`;
      }
      // Under a preset an entry may hold only what it changes; which ones, no JSON Schema can say.
      if (zodSchema === limit) delete jsonSchema.required;
      if (isSecret(zodSchema)) jsonSchema.writeOnly = true;
    },
  });
  return { $schema, title: 'tollgate.yaml', ...schema };
}
