/** What a server looks like in status, start-up print and console. Nothing here may be a secret. */
import type { HttpTarget, StdioTarget } from './options.ts';

const SECRET_FLAG = /(key|token|secret|pass(word|wd)?|pwd|auth(orization)?|credential|bearer)s?$/i;
const SECRET_ASSIGNMENT =
  /^(-{0,2}[A-Za-z0-9_.-]*(?:key|token|secret|pass(?:word|wd)?|pwd|auth(?:orization)?|credential|bearer)s?)=(.+)$/i;
/** Forms of well-known credentials, wherever they stand. */
const CREDENTIAL = /^(sk-|pk-|ghp_|gho_|ghs_|github_pat_|glpat-|xox[abps]-|AKIA|eyJ)[A-Za-z0-9._-]{8,}$/;
const MASK = '***';

/** Command and arguments, or URL, with everything that looks like a credential masked. */
export function targetText(target: StdioTarget | HttpTarget): string {
  return target.kind === 'stdio' ? [target.command, ...maskedArguments(target.args)].join(' ') : maskedUrl(target.url);
}

/** The values among arguments that `targetText` masks: what follows a flag or an equals sign, or looks like a credential. */
export function secretArguments(args: readonly string[]): string[] {
  const masked = maskedArguments(args);
  return args.flatMap((arg, index) => {
    const assigned = SECRET_ASSIGNMENT.exec(arg)?.[2];
    if (assigned !== undefined) return [assigned];
    return masked[index] === arg ? [] : [arg];
  });
}

function maskedArguments(args: readonly string[]): string[] {
  let hideNext = false;
  return args.map((arg) => {
    const hide = hideNext;
    hideNext = arg.startsWith('-') && SECRET_FLAG.test(arg);
    if (hide && !arg.startsWith('-')) return MASK;
    if (CREDENTIAL.test(arg)) return MASK;
    const assignment = SECRET_ASSIGNMENT.exec(arg);
    if (assignment !== null) return `${assignment[1]}=${MASK}`;
    return URL.canParse(arg) && /^[a-z][a-z0-9+.-]*:\/\//i.test(arg) ? maskedUrl(new URL(arg)) : arg;
  });
}

/** The URL without user, password and the values of its query: all of them carry credentials in the wild. */
function maskedUrl(source: URL): string {
  const url = new URL(source);
  if (url.username !== '') url.username = MASK;
  if (url.password !== '') url.password = MASK;
  for (const name of new Set(url.searchParams.keys())) url.searchParams.set(name, MASK);
  url.hash = '';
  return url.href.replaceAll('%2A%2A%2A', MASK);
}
