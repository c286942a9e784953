/** The command line. Each command is a file of its own, loaded when it is called. */
import { existsSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { TollgateError } from '../core/errors.ts';
import { VERSION } from '../core/version.ts';
import { type Called, withNextCommand } from './next-command.ts';
import { Exit, keepWithoutReader, report } from './output.ts';

interface Options {
  readonly [name: string]: string | boolean | undefined;
}

type Run = (positional: readonly (string | undefined)[], options: Options) => Promise<unknown>;

/** Runs the command line; sets the exit code and leaves the process to end by itself. */
export async function main(argv: readonly string[]): Promise<void> {
  const program = build();
  try {
    await refuseUnknownCommand(program, argv[2]);
    await program.parseAsync([...argv]);
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? Exit.ok : Exit.usage;
    else process.exitCode = report(error);
  }
}

function build(): Command {
  const program = new Command('tollgate')
    .description('One endpoint in front of all your MCP servers, with exact limits.')
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError('Run `tollgate --help` to see the commands.')
    .addHelpText('after', EXAMPLES);

  program
    .command('serve', { isDefault: true })
    .description(
      'Start the gateway. Without CONFIG it looks for tollgate.yaml, .mcp.json, then .vscode/mcp.json in this folder; a file found that way is shown and must be approved once.',
    )
    .argument('[config]', 'tollgate.yaml or an .mcp.json; default: the one in this folder')
    .option('--listen <address>', 'address and port in place of the configured one, for example 127.0.0.1:0')
    .option(
      '--stdio',
      'speak MCP on standard input and output: attaches to the running gateway of this configuration, or starts it',
    )
    .option('--watch', 'apply changes of the configuration file as they are saved')
    .option('--trust', 'approve a configuration that was found, without asking')
    .option('--json', 'print the start-up report as one line of JSON')
    .option('--debug', 'log what is only of interest when something is wrong')
    .option('--detached', 'stop by itself five minutes after the last stdio client has left')
    .action(run(async () => (await import('./serve.ts')).serve));
  program
    .command('validate')
    .description(
      'Check a configuration and print every mistake with file, line, key and fix. Starts nothing unless --probe is given.',
    )
    .argument('[config]', 'tollgate.yaml or an .mcp.json; default: the one in this folder')
    .option('--probe', 'also start every server once and list what it offers')
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./validate.ts')).validate));
  program
    .command('explain')
    .description('Say what applies to a caller and a tool, and where each value came from.')
    .argument('[config]', 'tollgate.yaml or an .mcp.json; default: the one in this folder')
    .option('--caller <id>', 'principal, for example ci/ci or anonymous')
    .option('--tool <id>', 'canonical id, for example files/read_file')
    .option('--roles <names>', 'roles that the key or token of the caller says, separated by commas')
    .option('--scopes <names>', 'scopes that it says')
    .option('--tenant <name>', 'tenant that it says')
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./explain.ts')).explain));
  program
    .command('status')
    .description('Show the running gateway: endpoints, servers, what is wrong with them and how to fix it.')
    .argument('[config]', 'tollgate.yaml or an .mcp.json; default: the one in this folder')
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./status.ts')).status));
  program
    .command('tail')
    .description('Show calls as they finish, until interrupted.')
    .argument('[config]', 'tollgate.yaml or an .mcp.json; default: the one in this folder')
    .option('--refused', 'only calls that were refused')
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./tail.ts')).tail));
  program
    .command('why')
    .description(
      'Explain one decision by its id, as refusals show it: who, what, every rule with its numbers, and what would have let it pass. Without ID, list the last decisions.',
    )
    .argument('[id]', 'for example tg-7f3k9q1')
    .option('--config <file>', 'tollgate.yaml or an .mcp.json; default: the one in this folder')
    .option('--last <number>', 'how many are listed without ID; default 20')
    .option('--refused', 'list only refusals')
    .option('--json', 'print records as JSON, one a line: the form that `simulate --records` reads')
    .action(run(async () => (await import('./why.ts')).why));
  program
    .command('simulate')
    .description(
      'Replay recorded decisions against a changed configuration: who would have been refused or admitted, and what it would have cost. Changes nothing. Exits with 3 when a verdict changes.',
    )
    .argument('<new>', 'the changed configuration')
    .option('--config <file>', 'the current configuration; default: the one in this folder')
    .option('--records <file>', 'records as JSON Lines, in place of those of the current configuration')
    .option('--since <duration>', 'only the records of the last 30m, 24h, 7d')
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./simulate.ts')).simulate));
  program
    .command('test')
    .description(
      'Run given/then cases against the limits of a configuration, on a virtual clock and without servers. Exits with 1 when one fails.',
    )
    .argument('<cases>', 'a file of cases, see docs/decisions.md')
    .option('--config <file>', 'tollgate.yaml or an .mcp.json; default: the one in this folder')
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./test-cases.ts')).testCases));
  program
    .command('op')
    .description(
      'Ask one operation, or a JSON list of them, of the running gateway and print its answer; `tollgate op list` shows which there are. Without --input: a check of anonymous that costs nothing.',
    )
    .argument(
      '[list-or-config]',
      '`list`, or the configuration whose gateway is asked; default: the one in this folder',
    )
    .option('--input <json>', `for example '{"operation":"get_status"}'; "-" reads standard input`)
    .option('--json', 'with list: print data as JSON')
    .action(run(async () => (await import('./op.ts')).op));
  program
    .command('connect')
    .description(
      'Add this gateway to the user configuration of an MCP client (claude, claude-desktop, cursor, vscode, codex), keeping a copy to undo it.',
    )
    .argument('<client>', 'claude, claude-desktop, cursor, vscode or codex')
    .argument('[config]', 'tollgate.yaml or an .mcp.json; default: the one in this folder')
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./connect.ts')).connect));
  program
    .command('disconnect')
    .description('Take back what `connect` changed.')
    .argument('<client>', 'claude, claude-desktop, cursor, vscode or codex')
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./connect.ts')).disconnect));
  program
    .command('login')
    .description('Sign in at a server with `auth: oauth` in the browser; the tokens go into the vault, sealed.')
    .argument('<server>', 'its name in the configuration')
    .argument('[config]', 'tollgate.yaml or an .mcp.json; default: the one in this folder')
    .option('--no-browser', 'print the address in place of opening a browser')
    .action(run(async () => (await import('./login.ts')).loginCommand));
  program
    .command('doctor')
    .description(
      'Check this machine, the configuration and the running gateway, and say what to do about each finding.',
    )
    .argument('[config]', 'tollgate.yaml or an .mcp.json; default: the one in this folder')
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./doctor.ts')).doctor));
  program
    .command('reload')
    .description('Apply the configuration file to the running gateway; on a mistake the old one keeps serving.')
    .argument('[config]', 'tollgate.yaml or an .mcp.json; default: the one in this folder')
    .option('--trust', 'approve the change of a configuration that was found, without asking')
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./reload.ts')).reload));
  const budget = program.command('budget').description('Show what a caller has used, grant it more, or start it anew.');
  const configOption = ['--config <file>', 'tollgate.yaml or an .mcp.json; default: the one in this folder'] as const;
  budget
    .command('show')
    .description('Say what the limits of a caller stand at.')
    .argument('<who>', 'principal, for example ci/ci or anonymous')
    .option('--tool <id>', 'also the limits that cover only this tool, for example exa/search')
    .option(...configOption)
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./budget.ts')).showBudget));
  budget
    .command('grant')
    .description('Give a caller more room under a limit for a while.')
    .argument('<who>', 'principal, or everyone')
    .argument('<amount>', 'for example "10 USD", or a number of calls')
    .option('--limit <name>', 'the limit of the configuration')
    .option('--until <time>', 'a duration like 2h, or a moment like 2030-01-31T18:00:00Z')
    .option('--reason <text>', 'kept with the grant')
    .option(...configOption)
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./budget.ts')).grantBudget));
  budget
    .command('grants')
    .description('List what is granted now: to whom, how much, until when, by whom and why.')
    .argument('[limit]', 'only grants under this limit')
    .option(...configOption)
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./budget.ts')).listGrants));
  budget
    .command('revoke')
    .description('End a grant before its time.')
    .argument('<id>', 'as `budget grants` shows it')
    .option(...configOption)
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./budget.ts')).revokeGrant));
  budget
    .command('reset')
    .description('Forget what a caller has used of a limit.')
    .argument('[who]', 'principal, or everyone for the counter that all share')
    .option('--limit <name>', 'the limit of the configuration')
    .option('--lost', 'spend again after the ledger was lost together with the counters')
    .option('--reason <text>', 'kept with the reset')
    .option(...configOption)
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./budget.ts')).resetBudget));
  const keys = program
    .command('keys')
    .description('Make, list and revoke the API keys of an `auth` entry with `keys: {}`. Needs the running gateway.');
  keys
    .command('create')
    .description('Make a key and print it: it is shown this once and cannot be shown again.')
    .argument('[subject]', 'whose key it is; the caller is called <entry>/<subject>')
    .option('--roles <names>', 'roles, separated by commas; default user')
    .option('--scopes <names>', 'scopes, separated by commas; default none')
    .option('--tenant <name>', 'tenant of the caller')
    .option('--tier <name>', 'tier of the caller')
    .option('--expires <time>', 'a duration like 90d, or a moment like 2030-01-31T18:00:00Z; default never')
    .option('--label <text>', 'shown in the list')
    .option('--entry <name>', 'the auth entry that accepts it, where there are several')
    .option('--replaces <id>', 'make a successor of this key, with all that it may do; that key ends at once')
    .option('--overlap <duration>', 'with --replaces: how long the older key goes on working beside it')
    .option(...configOption)
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./keys.ts')).createKey));
  keys
    .command('list')
    .description(
      'List the keys: whose they are, what they may do, when they were last used. Never the keys themselves.',
    )
    .option('--all', 'also those that are revoked or expired')
    .option(...configOption)
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./keys.ts')).listKeys));
  keys
    .command('revoke')
    .description('Refuse a key from now on, on every gateway, and end what it has open.')
    .argument('<id>', 'as `keys list` shows it: the part of the key between the two underscores')
    .option('--reason <text>', 'kept with the revocation')
    .option(...configOption)
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./keys.ts')).revokeKey));
  program
    .command('stop')
    .description('Refuse everything, or one server, tool or tenant, until it is resumed.')
    .argument('[config]', 'tollgate.yaml or an .mcp.json; default: the one in this folder')
    .option('--server <name>', 'only this server; a pattern')
    .option('--tool <id>', 'only this tool, for example exa/*')
    .option('--tenant <name>', 'only this tenant; a pattern')
    .option('--reason <text>', 'told to callers and kept')
    .option('--until <time>', 'a duration like 2h, or a moment like 2030-01-31T18:00:00Z')
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./stop.ts')).stop));
  program
    .command('resume')
    .description('End the stops of a scope, or of a limit that shut itself.')
    .argument('[config]', 'tollgate.yaml or an .mcp.json; default: the one in this folder')
    .option('--server <name>', 'what was stopped with the same option')
    .option('--tool <id>', 'likewise')
    .option('--tenant <name>', 'likewise')
    .option('--limit <name>', 'a limit with `latch` that was reached')
    .option('--all', 'every stop')
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./stop.ts')).resume));
  const trust = program
    .command('trust')
    .description('Show which tools, prompts and templates of servers were approved, what changed, and approve it.');
  trust
    .command('list')
    .description('Say what servers offer, and what of it was approved.')
    .argument('[server]', 'only this server')
    .option(...configOption)
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./trust.ts')).listTrust));
  trust
    .command('diff')
    .description('Show what nobody has approved, member by member, and the digest to approve it by.')
    .argument('<what>', 'a server, or one definition of it: files/read_file')
    .option(...configOption)
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./trust.ts')).diffTrust));
  trust
    .command('approve')
    .description('Approve what `trust diff` showed. What the server has changed since is not approved.')
    .argument('<what>', 'a server, or one definition of it: files/read_file')
    .option('--digest <sha256>', 'what `trust diff` printed; without it the difference is shown and asked about')
    .option('--yes', 'approve what is shown without asking')
    .option(...configOption)
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./trust.ts')).approveTrust));
  program
    .command('block')
    .description(
      'Keep a caller out, at once and on every gateway of this storage: a principal, tenant:x, client:x or key:ID. Ends its sessions and streams. Without WHO, list who is blocked.',
    )
    .argument('[who]', 'for example corp/ada, anonymous, tenant:acme, client:cursor, key:7f3k9q1mzx5c2v8b')
    .option('--for <time>', 'a duration like 2h, or a moment like 2030-01-31T18:00:00Z; default: until unblocked')
    .option('--reason <text>', 'kept with the block; callers are not told')
    .option(...configOption)
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./block.ts')).block));
  program
    .command('unblock')
    .description('Let a caller in again.')
    .argument('<who>', 'as it was blocked')
    .option(...configOption)
    .option('--json', 'print data as JSON')
    .action(run(async () => (await import('./block.ts')).unblock));
  const vault = program
    .command('vault')
    .description('Keep secrets: they go in, are used by the gateway, and never come out.');
  const owner = (command: Command): Command =>
    command
      .option('--tenant <name>', 'of this tenant, in place of the gateway')
      .option('--user <id>', 'of this principal, for example corp/ada')
      .option(...configOption)
      .option('--json', 'print data as JSON');
  const plain = (command: Command): Command => command.option(...configOption).option('--json', 'print data as JSON');
  owner(vault.command('set'))
    .description('Keep a secret, or replace it. The value is read from standard input, a file, or asked for.')
    .argument('<name>', 'referred to as ${vault:NAME}')
    .option('--file <path>', 'read the value from a file')
    .option('--expires <time>', 'a duration like 90d, or a moment like 2030-01-31T18:00:00Z')
    .option('--overlap <duration>', 'try the value before for so long where a server refuses the new one')
    .option('--server <name>', 'only this server may use it')
    .option('--provider <name>', 'refuse what cannot be a key of openai, anthropic or google')
    .action(run(async () => (await import('./vault.ts')).setSecret));
  plain(vault.command('list'))
    .description('Show what is kept: owner, fingerprint, age, last use, state. Never values.')
    .action(run(async () => (await import('./vault.ts')).listSecrets));
  owner(vault.command('remove'))
    .description('Erase a secret.')
    .argument('<name>')
    .action(run(async () => (await import('./vault.ts')).removeSecret));
  owner(vault.command('revoke'))
    .description('Erase a secret that may have been seen, and tell the webhooks.')
    .argument('<name>')
    .option('--reason <text>', 'kept and told')
    .option('--replace', 'set a new value at once, read like that of `vault set`')
    .option('--file <path>', 'with --replace: read the value from a file')
    .action(run(async () => (await import('./vault.ts')).revokeSecret));
  plain(vault.command('import'))
    .description('Move the secrets that stand in a file of MCP clients into the vault; a copy of the file is kept.')
    .argument('<file>', 'for example .mcp.json')
    .option('--dry-run', 'only say what would be moved')
    .action(run(async () => (await import('./vault-import.ts')).importSecrets));
  plain(vault.command('status'))
    .description('Show the versions of the master key and how many sealed values need each.')
    .action(run(async () => (await import('./vault.ts')).vaultStatus));
  plain(vault.command('rotate'))
    .description('Make a new version of the master key for new secrets; the others stay readable.')
    .action(run(async () => (await import('./vault.ts')).rotateKey));
  plain(vault.command('rewrap'))
    .description('Move all data keys to the newest master key, while the gateway works. Can be interrupted.')
    .action(run(async () => (await import('./vault.ts')).rewrapSecrets));
  plain(vault.command('reencrypt'))
    .description('Seal every secret anew under a new data key: after suspected exposure of data keys.')
    .action(run(async () => (await import('./vault.ts')).reencryptSecrets));
  plain(vault.command('retire'))
    .description('Take a master key out of use that nothing needs any more.')
    .argument('<version>')
    .action(run(async () => (await import('./vault.ts')).retireKey));
  plain(vault.command('destroy'))
    .description('Forget a retired master key for ever: backups sealed under it become unreadable.')
    .argument('<version>')
    .option('--confirm <key>', 'its name, as `vault status` shows it')
    .action(run(async () => (await import('./vault.ts')).destroyKey));
  for (const group of [budget, keys, trust, vault])
    group.showHelpAfterError(`Run \`tollgate ${group.name()} --help\` to see its commands.`);
  for (const { commands } of [program, budget, keys, trust, vault])
    for (const command of commands) command.exitOverride();
  return program;
}

/** A mistyped command would be taken for the CONFIG of `serve`, and the answer would speak of a missing file. */
async function refuseUnknownCommand(program: Command, word: string | undefined): Promise<void> {
  if (word === undefined || !/^[a-z]+$/.test(word) || existsSync(word)) return;
  const known = ['help', ...program.commands.map((command) => command.name())];
  if (known.includes(word)) return;
  const { suggest } = await import('../config/problems.ts');
  throw new TollgateError('usage', `"${word}" is neither a command nor a file. ${suggest(word, known)}`);
}

function run(load: () => Promise<Run>): (...args: unknown[]) => Promise<void> {
  return async (...args) => {
    const command = args.at(-1) as Command;
    const positional = args.slice(0, -2) as (string | undefined)[];
    const options = command.opts<Options>();
    keepWithoutReader(command.name() === 'serve');
    let code: unknown;
    try {
      code = await (await load())(positional, options);
    } catch (error) {
      throw withNextCommand(error, called(command, positional, options));
    }
    process.exitCode = typeof code === 'number' ? code : Exit.ok;
  };
}

function called(command: Command, positional: readonly (string | undefined)[], options: Options): Called {
  const names = command.registeredArguments.map((argument) => argument.name());
  const at = names.findIndex((name) => name.endsWith('config'));
  const before = names.filter((_, index) => command.registeredArguments[index]?.required === true);
  const group = command.parent?.parent == null ? [] : [command.parent.name()];
  const option = options['config'];
  return {
    usage: [...group, command.name(), ...before.map((name) => name.toUpperCase())].join(' '),
    config: at >= 0 && positional[at] !== 'list' ? positional[at] : typeof option === 'string' ? option : undefined,
    asOption: at < 0,
  };
}

const EXAMPLES = `
Examples:
  tollgate                       front the servers of the .mcp.json in this folder
  tollgate serve tollgate.yaml   serve a configuration
  tollgate connect cursor        let Cursor use it
  tollgate status                see what is running`;
