/**
 * Why a store did not answer. `deadline` and `connection`: nobody knows whether it acted. `breaker`: it was not asked.
 * `readonly`, `memory`, `loading`, `busy`, `cluster`, `persistence`: it refuses for now, and wrote nothing.
 * `permission`: user or password. `unseeded`: it holds no money of this ledger. `foreign`: it holds another's.
 * `clock`: its clock and ours stay apart. `script`: anything else it said, which is a defect.
 */
export type StoreFailure =
  | 'deadline'
  | 'connection'
  | 'breaker'
  | 'readonly'
  | 'memory'
  | 'loading'
  | 'busy'
  | 'cluster'
  | 'persistence'
  | 'permission'
  | 'unseeded'
  | 'foreign'
  | 'clock'
  | 'script';

/** The limiter's store could not decide. Nothing was admitted. */
export class StoreError extends Error {
  readonly failure: StoreFailure;
  /** `unseeded` and `foreign`: the tenant whose counters are meant. */
  readonly tenant: string | undefined;
  readonly #sent: boolean;

  constructor(
    failure: StoreFailure,
    message: string,
    options: { cause?: unknown; tenant?: string; sent?: boolean } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'StoreError';
    this.failure = failure;
    this.tenant = options.tenant;
    this.#sent = options.sent ?? (failure === 'deadline' || failure === 'connection');
  }

  /** True: the store may have acted all the same. */
  get uncertain(): boolean {
    return this.#sent;
  }
}

const WORDS: readonly (readonly [RegExp, StoreFailure, string])[] = [
  [/^READONLY/, 'readonly', 'Redis is a read-only replica'],
  [/^OOM/, 'memory', 'Redis is out of memory'],
  [/^LOADING/, 'loading', 'Redis is loading its data'],
  [/^BUSY/, 'busy', 'Redis is busy with a script'],
  [/^(MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|CROSSSLOT)/, 'cluster', 'the Redis node cannot serve these keys now'],
  [/^(MISCONF|NOREPLICAS)/, 'persistence', 'Redis refuses to write because it cannot persist or replicate'],
  [
    /^(NOAUTH|WRONGPASS|NOPERM)|can't (run|access)/,
    'permission',
    'Redis does not permit this user what the limiter needs',
  ],
];

/** What an error of a client or server means. Server errors keep their text: it never holds what a caller sent. */
export function storeErrorOf(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const message = error instanceof Error ? error.message : String(error);
  // Inside a script the server wraps what a command said.
  const said = message.replace(/^ERR (Error running script.*?: ?)?(@user_script: ?\d+: ?)?/, '').replace(/^-/, '');
  for (const [pattern, failure, words] of WORDS) {
    if (pattern.test(said)) return new StoreError(failure, `${words}: ${said}`, { cause: error });
  }
  if (/^(ERR|NOSCRIPT|WRONGTYPE|EXECABORT)|user_script/.test(message)) {
    return new StoreError('script', `Redis answered: ${message}`, { cause: error });
  }
  // What the client did not even write.
  const sent = !/^Client(Offline|Closed)Error$/.test(error instanceof Error ? error.constructor.name : '');
  return new StoreError('connection', `Redis cannot be reached: ${message}`, { cause: error, sent });
}
