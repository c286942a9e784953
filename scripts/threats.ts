/** The rows of `docs/security.md`: read from `docs/threats.yaml`, checked for form, and written as tables. */
import { readFileSync } from 'node:fs';
import { parseText } from '../packages/gateway/src/config/tree.ts';

/** Titles of tests by file, both as they stand in the sources. */
export type Tests = Readonly<Record<string, readonly string[]>>;

export interface Threat {
  /** `T1.2-05` for the fifth row of table 1.2 of the threat model; other rows have the letter of their section. */
  readonly id: string;
  readonly threat: string;
  readonly behaviour: string;
  readonly tests: Tests;
}

export interface Incident {
  readonly id: string;
  /** Whose, and the numbers of its advisories as they stand in titles of tests. */
  readonly case: string;
  readonly names: readonly string[];
  readonly lesson: string;
  readonly tests?: Tests;
  /** Why nothing here can be replayed; in place of tests. */
  readonly notHere?: string;
}

interface Rows {
  readonly sections: readonly { readonly title: string; readonly threats: readonly Threat[] }[];
  readonly incidents: readonly Incident[];
}

const FILE = 'docs/threats.yaml';

export function readThreats(): Rows {
  const { tree, problems } = parseText(readFileSync(new URL(`../${FILE}`, import.meta.url), 'utf8'), FILE);
  const [problem] = problems;
  if (problem !== undefined) throw new Error(`${FILE}:${problem.position.line}: ${problem.what}`);
  return tree.value as Rows;
}

/** One table for each section. */
export function threatTables({ sections }: Rows): string {
  return sections
    .map(({ title, threats }) => {
      const rows = threats.map((row) => line(row.id, row.threat, row.behaviour, testCell(row.tests)));
      return [`### ${title}`, '', line('Id', 'Threat', 'Behaviour', 'Tests'), '|---|---|---|---|', ...rows, ''].join(
        '\n',
      );
    })
    .join('\n');
}

export function incidentTable({ incidents }: Rows): string {
  const rows = incidents.map((row) =>
    line(
      row.id,
      row.case,
      row.lesson,
      row.tests === undefined ? `Does not apply: ${row.notHere}` : testCell(row.tests),
    ),
  );
  return `${[line('Id', 'Case', 'What holds here', 'Replayed by'), '|---|---|---|---|', ...rows].join('\n')}\n`;
}

function line(...cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

function testCell(tests: Tests): string {
  return Object.entries(tests)
    .flatMap(([file, titles]) => titles.map((title) => `\`${file}\`: ${title.replaceAll('`', '\\`')}`))
    .join('<br>');
}
