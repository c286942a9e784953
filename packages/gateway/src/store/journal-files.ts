import type { FileKind } from './journal-format.ts';

const NAME = /^(journal|snapshot)-(\d{8,})\.tg$/;

export interface StateFile {
  readonly kind: FileKind;
  /** A snapshot holds what happened before the journal of the same number. */
  readonly number: number;
  readonly name: string;
}

export function fileName(kind: FileKind, number: number): string {
  return `${kind}-${String(number).padStart(8, '0')}.tg`;
}

/** The state files among `names`, oldest first; a snapshot comes before the journal of its number. */
export function stateFiles(names: readonly string[]): StateFile[] {
  return names
    .flatMap((name): StateFile[] => {
      const match = NAME.exec(name);
      return match === null ? [] : [{ kind: match[1] as FileKind, number: Number(match[2]), name }];
    })
    .sort((a, b) => a.number - b.number || (a.kind === 'snapshot' ? -1 : 1));
}
