import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Child, startChild } from '@tollgate/testkit/child';
import { startGateway } from '@tollgate/testkit/gateway';
import { freePort } from '@tollgate/testkit/ports';
import { findProgram, install } from '@tollgate/testkit/services';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';

export interface WireTarget {
  readonly name: string;
  readonly port: number;
  /** Process whose memory and path are meant; undefined for the upstream itself. */
  readonly pid: number;
  /** Path under which this target offers the upstream's answer form, such as `json-300`. */
  path(form: string): string;
}

export const FORMS = ['json-300', 'sse-300', 'json-100k', 'sse-100k'] as const;

/** Starts one of the benchmark's own programs and reads the port it prints. */
export async function startProgram(
  stack: AsyncDisposableStack,
  file: string,
  args: readonly string[] = [],
): Promise<{ child: Child; port: number }> {
  const child = stack.use(await startChild(process.execPath, [resolve(import.meta.dirname, file), ...args]));
  const match = await child.waitFor(/listening on (\d+)/);
  return { child, port: Number(match[1]) };
}

/** A target, or the one sentence why it cannot be measured here. */
export type Candidate = WireTarget | string;

/**
 * Everything that is compared, in front of one upstream: the upstream itself, a bare pass-through, nginx with one
 * worker, and the gateway with one limit on.
 */
export async function startTargets(stack: AsyncDisposableStack, only: readonly string[]): Promise<Candidate[]> {
  const upstream = await startProgram(stack, 'upstream.ts');
  const plainPath = (form: string): string => `/${form}`;
  const wanted = (name: string): boolean => only.length === 0 || only.includes(name);
  const targets: Candidate[] = [{ name: 'direct', port: upstream.port, pid: upstream.child.pid, path: plainPath }];
  if (wanted('passthrough')) {
    const { child, port } = await startProgram(stack, 'passthrough.ts', [`http://127.0.0.1:${upstream.port}`]);
    targets.push({ name: 'passthrough', port, pid: child.pid, path: plainPath });
  }
  if (wanted('nginx')) targets.push(await startNginx(stack, upstream.port));
  if (wanted('gateway')) targets.push(await startMeasuredGateway(stack, upstream.port));
  return targets;
}

async function startNginx(stack: AsyncDisposableStack, upstreamPort: number): Promise<Candidate> {
  const find = () => findProgram('nginx');
  let program: string;
  try {
    program = find() ?? install('nginx-light', 'none: it is only for comparison', find);
  } catch (error) {
    return `nginx is left out: ${(error as Error).message}`;
  }
  const folder = stack.use(await temporaryDirectory('nginx'));
  const port = await freePort();
  const file = join(folder.path, 'nginx.conf');
  await writeFile(
    file,
    `master_process off; daemon off; pid ${folder.path}/pid; error_log stderr warn;
    events { worker_connections 4096; }
    http {
      access_log off; client_max_body_size 8m; client_body_buffer_size 256k; proxy_buffering off; proxy_buffer_size 128k; proxy_buffers 8 128k; proxy_busy_buffers_size 256k;
      client_body_temp_path ${folder.path}/body; proxy_temp_path ${folder.path}/proxy;
      fastcgi_temp_path ${folder.path}/fastcgi; uwsgi_temp_path ${folder.path}/uwsgi; scgi_temp_path ${folder.path}/scgi;
      keepalive_requests 1000000000; keepalive_timeout 600s;
      upstream mcp { server 127.0.0.1:${upstreamPort}; keepalive 256; keepalive_requests 1000000000; }
      server { listen 127.0.0.1:${port}; location / {
        proxy_pass http://mcp; proxy_http_version 1.1; proxy_set_header Connection ""; } }
    }`,
  );
  const child = stack.use(await startChild(program, ['-c', file, '-p', folder.path]));
  for (let attempt = 0; ; attempt += 1) {
    const answered = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: '{"id":1}' }).then(
      (response) => response.text(),
      () => undefined,
    );
    if (answered !== undefined) break;
    if (attempt > 100) return `nginx is left out: it did not start\n${child.transcript()}`;
    await new Promise((done) => setTimeout(done, 50));
  }
  return { name: 'nginx', port, pid: child.pid, path: (form) => `/${form}` };
}

async function startMeasuredGateway(stack: AsyncDisposableStack, upstreamPort: number): Promise<Candidate> {
  const servers = Object.fromEntries(
    FORMS.map((form) => [
      form,
      { url: `http://127.0.0.1:${upstreamPort}/${form}`, protocol: 'modern', pool: { max: 256 } },
    ]),
  );
  const limits = { calls: { on: 'tools/call', by: 'principal', limit: '1000000000/min' } };
  try {
    const gateway = stack.use(await startGateway({ version: 1, servers, limits }));
    return { name: 'gateway', port: gateway.port, pid: gateway.child.pid, path: (form) => `/s/${form}` };
  } catch (error) {
    return `the gateway is left out, it did not start: ${(error as Error).message}`;
  }
}
