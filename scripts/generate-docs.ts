/**
 * Writes the pages that are made from the code: `docs/configuration.md`, `docs/tollgate.schema.json`,
 * `docs/access-matrix.md`, and the tables of `docs/security.md` from `docs/threats.yaml`.
 * `npm run docs` writes them; a test fails while they differ from what the code says.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { ANYBODY, RIGHTS, ROLES } from '../packages/gateway/src/access/rights.ts';
import { ways } from '../packages/gateway/src/api/inventory.ts';
import { configJsonSchema } from '../packages/gateway/src/config/json-schema.ts';
import { type ReferenceSection, referenceSections } from '../packages/gateway/src/config/reference.ts';
import { incidentTable, readThreats, threatTables } from './threats.ts';

const ROOT = new URL('../', import.meta.url);
const PAGE = 'docs/configuration.md';
const KEYS = [
  '<!-- keys: made by `npm run docs` from the schema; edit the schema instead -->',
  '<!-- end of keys -->',
] as const;
const SECURITY = 'docs/security.md';
const THREATS = [
  '<!-- threats: made by `npm run docs` from docs/threats.yaml; edit that instead -->',
  '<!-- end of threats -->',
] as const;
const INCIDENTS = [
  '<!-- incidents: made by `npm run docs` from docs/threats.yaml; edit that instead -->',
  '<!-- end of incidents -->',
] as const;

/** The generated files: path from the root of the repository, and the text that belongs there. */
export function generatedFiles(): readonly { readonly path: string; readonly text: string }[] {
  return [
    { path: 'docs/tollgate.schema.json', text: `${JSON.stringify(configJsonSchema(), undefined, 2)}\n` },
    { path: 'docs/access-matrix.md', text: accessMatrix() },
    { path: PAGE, text: between(PAGE, read(PAGE), KEYS, referenceSections().map(sectionText).join('\n')) },
    { path: SECURITY, text: securityPage() },
  ];
}

const MATRIX_INTRO = `# Rights of the roles

Made by \`npm run docs\` from \`packages/gateway/src/access/rights.ts\`, the one table that every admin surface asks; \`packages/gateway/src/api/matrix.test.ts\`
asks every way in as every role, and fails for one without a cell. \`yes\`: over everybody's. \`own\`: over what is the caller's. Empty: not at all (403).
What several roles give adds up; other roles are free names and give nothing here. What callers may use over MCP, stdio and the user API is decided
by [access](access.md), never by these roles; \`packages/gateway/src/api/caller-matrix.test.ts\` asks it by every method at every such door.
`;

/** Objects and actions by role, with every way in that needs the right. */
function accessMatrix(): string {
  const all = ways();
  const rows = Object.entries(RIGHTS).map(([name, { object, action, own, others }]) => {
    const has = (list: readonly string[], role: string): boolean => list.includes(role);
    const cells = ROLES.map((role) => (has(others, role) ? 'yes' : has(own, role) ? 'own' : ''));
    const everybody = has(own, ANYBODY) ? ' (every credential: own)' : '';
    const where = all.filter(({ right }) => right === name).map((way) => `\`${way.name}\``);
    return `| ${object} | ${action}${everybody} | ${cells.join(' | ')} | ${where.join(', ') || 'inside operations'} |`;
  });
  const head = `| Object | Action | ${ROLES.map((role) => `\`${role}\``).join(' | ')} | Ways in |`;
  return `${MATRIX_INTRO}\n${head}\n|${'---|'.repeat(ROLES.length + 3)}\n${rows.join('\n')}\n`;
}

/** The page with its part between the marks made anew; the prose around it is written by hand. */
function between(path: string, page: string, [first, last]: readonly [string, string], text: string): string {
  const start = page.indexOf(first);
  const end = page.indexOf(last);
  if (start < 0 || end < start) throw new Error(`${path} has lost its marks "${first}" and "${last}"`);
  return `${page.slice(0, start)}${first}\n\n${text}\n${page.slice(end)}`;
}

function securityPage(): string {
  const rows = readThreats();
  const page = between(SECURITY, read(SECURITY), THREATS, threatTables(rows));
  return between(SECURITY, page, INCIDENTS, incidentTable(rows));
}

function read(path: string): string {
  return readFileSync(new URL(path, ROOT), 'utf8');
}

function sectionText(section: ReferenceSection): string {
  const lines = [section.path === '' ? '### Top level' : `### \`${section.path}\``, ''];
  if (section.path !== '' && section.about !== '') lines.push(cell(section.about), '');
  lines.push('| Key | Value | Default | Meaning |', '|---|---|---|---|');
  for (const key of section.keys) {
    const fallback = key.required ? 'required' : key.fallback === '' ? '' : `\`${key.fallback}\``;
    lines.push(`| \`${key.name}\` | ${cell(key.type)} | ${cell(fallback)} | ${cell(key.about)} |`);
  }
  return `${lines.join('\n')}\n`;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll(/(?<!`[^`]*)<(?=[a-z])/g, '&lt;');
}

if (import.meta.main) {
  for (const { path, text } of generatedFiles()) {
    writeFileSync(new URL(path, ROOT), text);
    process.stdout.write(`${path}\n`);
  }
}
