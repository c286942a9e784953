import type { KeyPath } from '../problems.ts';
import type { ToolhiveBucket } from './rate-limiting.ts';

/** What a configuration keeps of the ToolHive file that it was made from. */
export interface ToolhiveView {
  readonly kind: 'VirtualMCPServer' | 'MCPServer';
  readonly namespace: string;
  readonly name: string;
  /** The bucket behind each limit, by the name of the limit. Empty: no `rateLimiting`, so nothing is limited. */
  readonly buckets: Readonly<Record<string, ToolhiveBucket>>;
  /**
   * `sessionStorage` and `rateLimiting` as ToolHive's operator writes them into the generated file, and where each
   * stands in this one.
   */
  readonly effective: readonly { readonly key: string; readonly value: unknown; readonly from: KeyPath }[];
}
