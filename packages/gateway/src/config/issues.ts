import type * as z from 'zod';
import { type Finding, type KeyPath, mistake } from './problems.ts';
import { kindOf, readKeyMessages, readMessage } from './schema/kit.ts';
import { valueAt } from './values.ts';

/** Problems of a schema in our words, one per wrong key. */
export function explainIssues(issues: readonly z.core.$ZodIssue[], value: unknown): Finding[] {
  return issues.flatMap((issue) => explainIssue(issue, [], value));
}

function explainIssue(issue: z.core.$ZodIssue, prefix: KeyPath, root: unknown): Finding[] {
  const path = [...prefix, ...(issue.path as (string | number)[])];
  switch (issue.code) {
    case 'unrecognized_keys': {
      const said = readKeyMessages(issue.message);
      return issue.keys.map((key, i) =>
        mistake([...path, key], said[i]?.what ?? `Unknown key "${key}".`, said[i]?.fix),
      );
    }
    case 'invalid_union': {
      const branch = intendedBranch(issue.errors, valueAt(root, path));
      if (branch !== undefined) return branch.flatMap((inner) => explainIssue(inner, path, root));
      break;
    }
    default:
  }
  const { what, fix } = readMessage(issue.message);
  return [mistake(path, what, fix)];
}

/** The alternative whose kind fits what was written; undefined when none or several do. */
function intendedBranch(branches: readonly (readonly z.core.$ZodIssue[])[], value: unknown) {
  const fitting = branches.filter(
    (issues) => !issues.some((issue) => issue.path.length === 0 && isKindIssue(issue, value)),
  );
  return fitting.length === 1 ? fitting[0] : undefined;
}

function isKindIssue(issue: z.core.$ZodIssue, value: unknown): boolean {
  if (issue.code === 'invalid_type') return true;
  return issue.code === 'invalid_value' && kindOf(value) !== 'text';
}
