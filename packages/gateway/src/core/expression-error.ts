/**
 * An expression that cannot be compiled, or that gave no value. The message is one line, says where and what, and
 * never quotes a caller's arguments. Configuration turns it into a problem with file and line; admission and access
 * into what `expression_failed` means there (access denies, `when` applies, `cost` and `price` refuse).
 */
export class ExpressionError extends Error {
  override readonly name = 'ExpressionError';
}
