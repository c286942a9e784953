/** Where the MCP clients keep their user configuration, and how each writes an entry for a server. */
import { homedir, platform } from 'node:os';
import { join } from 'node:path';

export interface ClientTarget {
  readonly id: string;
  readonly title: string;
  readonly file: string;
  readonly format: 'json' | 'toml';
  /** Member that holds the servers; in TOML the table's name. */
  readonly member: string;
  /** What the client must do to see the change. */
  readonly after: string;
  /** The entry starts `tollgate --stdio` in place of naming a URL. */
  readonly starts?: true;
  entry(gateway: GatewayAddress): Record<string, unknown>;
}

export interface GatewayAddress {
  readonly url: string;
  /** Program and arguments that attach over stdio, for clients that cannot use a URL. */
  readonly stdio: readonly [string, ...string[]];
}

export interface Folders {
  readonly home: string;
  readonly config: string;
}

/** The user's own folders on this system; `env` and `home` are arguments so that tests own them. */
export function userFolders(env: NodeJS.ProcessEnv = process.env, home: string = homedir()): Folders {
  if (platform() === 'darwin') return { home, config: join(home, 'Library', 'Application Support') };
  if (platform() === 'win32') return { home, config: env['APPDATA'] ?? join(home, 'AppData', 'Roaming') };
  return { home, config: env['XDG_CONFIG_HOME'] || join(home, '.config') };
}

export function clientTargets(folders: Folders): readonly ClientTarget[] {
  const http = (gateway: GatewayAddress): Record<string, unknown> => ({ type: 'http', url: gateway.url });
  const url = (gateway: GatewayAddress): Record<string, unknown> => ({ url: gateway.url });
  const stdio = (gateway: GatewayAddress): Record<string, unknown> => ({
    command: gateway.stdio[0],
    args: gateway.stdio.slice(1),
  });
  const json = { format: 'json', member: 'mcpServers' } as const;
  return [
    {
      ...json,
      id: 'claude',
      title: 'Claude Code',
      file: join(folders.home, '.claude.json'),
      after: 'Start a new Claude Code session.',
      entry: http,
    },
    {
      ...json,
      id: 'claude-desktop',
      title: 'Claude Desktop',
      file: join(folders.config, 'Claude', 'claude_desktop_config.json'),
      after: 'Quit and start Claude Desktop.',
      starts: true,
      entry: stdio,
    },
    {
      ...json,
      id: 'cursor',
      title: 'Cursor',
      file: join(folders.home, '.cursor', 'mcp.json'),
      after: 'Open Cursor settings, MCP, and switch it on.',
      entry: url,
    },
    {
      id: 'vscode',
      format: 'json',
      member: 'servers',
      title: 'VS Code',
      file: join(folders.config, 'Code', 'User', 'mcp.json'),
      after: 'Run "MCP: List Servers" in VS Code.',
      entry: http,
    },
    {
      id: 'codex',
      format: 'toml',
      member: 'mcp_servers',
      title: 'Codex',
      file: join(folders.home, '.codex', 'config.toml'),
      after: 'Start a new Codex session.',
      entry: url,
    },
  ];
}
