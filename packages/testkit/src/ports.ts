import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Below the ports that systems give to connections and to "port 0"; the bus of a Redis cluster is 10,000 above. */
const FROM = 12_000;
const TO = 22_000;
const ATTEMPTS = 100;

/**
 * A loopback port that nobody has, for programs that cannot be told "port 0" (Redis, PostgreSQL, nginx). Between this
 * and the program's start no connection of another test can get it, since systems give none of these by themselves;
 * prefer port 0 wherever the program can report what it got.
 * @throws what the last attempt failed with.
 */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const port = randomInt(FROM, TO);
    const server = createServer().listen(port, host);
    try {
      await once(server, 'listening');
    } catch (error) {
      if (attempt < ATTEMPTS) continue;
      throw error;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
}
