/**
 * Patterns on texts. All are linear: no repetition within a repetition, every gap bounded, and what must stand together
 * in a sentence is asked by several patterns over that sentence instead of one with gaps.
 */
import type { Severity } from './finding.ts';

export interface TextRule {
  readonly id: string;
  readonly severity: Severity;
  readonly what: string;
  readonly fix: string;
  /** `raw`: the text as it came, case kept. `plain`: folded and decoded. */
  readonly on: 'raw' | 'plain';
  /** Literals of which one must occur anywhere: a cheap way to skip a rule. */
  readonly needs: readonly string[];
  /** Global. With `also`: only where all of these match in the same sentence. */
  readonly pattern: RegExp;
  readonly also?: readonly RegExp[];
  /** Only in strings that also match all of these. */
  readonly within?: readonly RegExp[];
  /** Not in sentences that match this: warnings about a thing are not the thing. */
  readonly unless?: RegExp;
  /** The last word on a match. `document`: it stands in a text of several sentences or lines. */
  readonly accept?: (match: string, document: boolean) => boolean;
}

const DANGEROUS =
  '(?:rm\\s{1,5}-[a-z]{0,3}[rf]|curl\\s|wget\\s|n(?:et)?c(?:at)?\\s{1,5}(?:-|\\d)|bash\\s{1,5}-[ic]|sh\\s{1,5}-c|cat\\s{1,5}/etc/|/bin/(?:ba|z|da)?sh|python\\d?\\s{1,5}-c|perl\\s{1,5}-e|powershell|chmod\\s{1,5}\\+x|mkfifo|whoami|uname\\b|netstat\\b|shutdown\\b|reboot\\b|sudo\\s|env\\s{0,3}[|>]|nslookup\\s|base64\\s{1,5}-d)';

export const TEXT_RULES: readonly TextRule[] = [
  {
    id: 'prompt_injection',
    severity: 'high',
    what: 'Text that tells a model to drop its instructions.',
    fix: 'Remove the text, or do not use its source.',
    on: 'plain',
    needs: ['ignore', 'disregard', 'forget', 'override'],
    pattern:
      /\b(?:ignore|disregard|forget|override)\s{1,9}(?:(?:all|any|every|the|your|my|of|these|those|previous|prior|above|earlier|preceding|existing|original|initial|system|safety|security)\s{1,9}){1,6}(?:instructions?|prompts?|guidelines?|directives?|constraints?|rules|programming)\b/g,
    accept: (match) =>
      /previous|prior|above|earlier|preceding|existing|original|initial|system|safety|security|your/.test(match),
  },
  {
    id: 'prompt_injection',
    severity: 'high',
    what: 'Text that gives a model another role, or poses as the system prompt.',
    fix: 'Remove the text, or do not use its source.',
    on: 'plain',
    needs: ['you are now', '<|im_start|>', '[inst]', 'system prompt', 'developer mode', 'jailbreak', '<<sys>>'],
    pattern:
      /<\|im_start\|>\s{0,5}system|\[inst\]\s{0,5}<<sys>>|\byou are now (?:in )?(?:dan\b|developer mode|unrestricted|jailbroken|free of)|\b(?:reveal|print|repeat|output|show me) (?:your|the) (?:full |entire |hidden |complete )?system prompt\b|\b(?:enable|enter|activate) (?:developer|jailbreak|god) mode\b|\bnew system prompt\s{0,3}:/g,
  },
  {
    id: 'hidden_instructions',
    severity: 'critical',
    what: 'Text that tells a model to act behind the back of its user.',
    fix: 'Do not use this server until its author has explained the text.',
    on: 'plain',
    needs: ['user'],
    pattern:
      /\b(?:do not|don't|never|must not) (?:tell|inform|notify|alert|mention (?:this|it|that) to) (?:the |your |this )?user\b(?!s? to\b|'s)|\bwithout (?:telling|informing|notifying|alerting|asking) (?:the |your )?user\b(?!'s)|\b(?:hide|conceal) (?:this|it|these) from (?:the |your )?user\b|\bthe user (?:must|should|need) (?:not|never) (?:see (?:this|it|any)|know|notice|be told)\b/g,
  },
  {
    id: 'hidden_instructions',
    severity: 'critical',
    what: 'A block that poses as an order to the model, in text that is shown as a description.',
    fix: 'Do not use this server until its author has explained the text.',
    on: 'plain',
    needs: ['<important', '<system', '<secret', '<hidden', '<assistant', '<instructions', '<!--'],
    pattern: /<(?:important|system|secret|hidden|assistant|instructions)\s{0,3}>|<!--/g,
    within: [
      /\b(?:you must|must first|always|before (?:using|calling)|read (?:the )?(?:file|contents)|pass (?:it|its|the)|do not|don't|assistant|send)\b/,
      /\b(?:tool|file|user|model|assistant|parameter|password|credential|token)\b/,
    ],
  },
  {
    id: 'data_exfiltration',
    severity: 'critical',
    what: 'Text that asks to send secrets or the conversation to a place of its own.',
    fix: 'Do not use this source; look in the audit log for what was sent already.',
    on: 'plain',
    needs: ['http', '@'],
    pattern: /\b(?:send|post|upload|forward|transmit|exfiltrate|bcc|e?mail|deliver|submit|leak|append|embed)\b/g,
    also: [
      /\b(?:conversation|chat history|credentials?|passwords?|api[ _-]?keys?|secrets?|access tokens?|private keys?|ssh keys?|env(?:ironment)? variables|\.env\b|system prompt|all (?:e?mails|messages|files)|contents? of (?:~|\/))/,
      /\b(?:to|at|as|into|with)\s{1,5}(?:the (?:url|address|server|endpoint)\s{1,5})?(?:https?:\/\/|[a-z0-9._-]{1,64}@[a-z0-9-]{1,63}\.)|!\[[^\]\u0001]{0,60}\]\(https?:/,
    ],
  },
  {
    id: 'command_injection',
    severity: 'high',
    what: 'A shell command behind a separator, as it is smuggled into an argument.',
    fix: 'Refuse the argument; have the server pass arguments as a list, never through a shell.',
    on: 'plain',
    needs: [';', '|', '&', '$(', '`'],
    pattern: new RegExp(`(?:;|&&|\\|\\|?|\\$\\(|&)\\s{0,5}${DANGEROUS}`, 'g'),
    accept: (match, document) => {
      // A script or a document runs commands for a living: there only what no build needs counts.
      if (!document) return true;
      return /cat\s+\/etc|nc(?:at)?\s|netcat|\/dev\/tcp|bash\s+-i|base64\s+-d|shutdown|mkfifo/.test(match);
    },
  },
  {
    id: 'command_injection',
    severity: 'high',
    what: 'A command that deletes everything it can reach.',
    fix: 'Refuse the argument; have the server run in a container without such rights.',
    on: 'plain',
    needs: ['rm -', 'rm  -', 'mkfs', 'dd if', ':(){'],
    pattern:
      /\brm\s{1,5}-[a-z]{0,3}(?:r[a-z]{0,2}f|f[a-z]{0,2}r)[a-z]{0,3}\s{1,5}(?:--no-preserve-root|\/(?=[\s*;&|"']|$)|~\/?(?=[\s*;&|"']|$)|\$home\b)|\bmkfs\.[a-z0-9]{2,5}\s{1,5}\/dev\/|\bdd\s{1,5}if=\/dev\/(?:zero|u?random)\s{1,5}of=\/dev\/|:\(\)\{\s{0,3}:\|:&\s{0,3}\};:/gm,
    // "Never run `rm -rf /`" is a warning: the command stands in quotation marks of a sentence that says so.
    unless: /\b(?:never|do not|don't|avoid|warning|dangerous|blocks?|refuses?|rejects?)\b/,
  },
  {
    id: 'pipe_to_shell',
    severity: 'high',
    what: 'A download that is run without being looked at.',
    fix: 'Download, verify and run in separate steps.',
    on: 'plain',
    needs: ['curl', 'wget', 'iwr', 'invoke-webrequest', 'downloadstring'],
    pattern: /\b(?:curl|wget)\s|\biwr\s|invoke-webrequest|downloadstring/g,
    also: [/\|\s{0,5}(?:sudo\s{1,5})?(?:(?:ba|z|da|k)?sh|python\d?|node|perl|iex)\b|\biex\s{0,3}\(/],
  },
  {
    id: 'reverse_shell',
    severity: 'critical',
    what: 'A shell that connects back to somebody.',
    fix: 'Refuse it, and look at what its source has sent before.',
    on: 'plain',
    needs: ['/dev/tcp/', '/dev/udp/', 'bash -i', 'nc ', 'ncat ', 'netcat ', 'pty.spawn', 'mkfifo', 'socket.socket'],
    pattern:
      /\/dev\/(?:tcp|udp)\/[a-z0-9.]{3,64}\/\d|\bbash\s{1,5}-i\s{0,5}[>&]|\b(?:nc|ncat|netcat)\s{1,5}(?:-[a-z]{1,4}\s{1,5}){0,3}-[a-z]{0,3}[ec]\s{1,5}\/bin|pty\.spawn\(|mkfifo\s{1,5}\/tmp\/[a-z0-9]{1,20}\s{0,3};/g,
  },
  {
    id: 'sql_injection',
    severity: 'high',
    what: 'SQL that breaks out of a string or a number.',
    fix: 'Refuse the argument; have the server bind parameters.',
    on: 'plain',
    needs: ["'", '"', 'union', ' or ', 'xp_cmdshell', 'load_file', 'into outfile'],
    pattern:
      /['"]\s{0,5}\)?\s{0,5};\s{0,5}(?:drop|delete|insert|update|alter|truncate|create|exec)\s{1,5}(?:table|from|into|database|user|schema|\w{1,40}\s{1,5}set)|['"]\s{0,5}(?:or|and)\s{1,5}['"]?(\w{1,20})['"]?\s{0,5}=\s{0,5}['"]?\1\b|\b(?:or|and)\s{1,5}1\s{0,3}=\s{0,3}1\s{0,5}(?:--|#|\/\*|;|$)|(?:['"]|\b\d{1,10})\s{0,5}\)?\s{0,5}union\s{1,5}(?:all\s{1,5})?select\b|['"]\s{0,3};\s{0,3}--|['"]\s{0,3}--\s{0,3}$|\bxp_cmdshell\b|\bload_file\s{0,3}\(|\binto\s{1,5}outfile\s{1,5}['"]|['"]\s{0,5};\s{0,5}waitfor\s{1,5}delay|\b(?:and|or)\s{1,5}(?:sleep|pg_sleep|benchmark)\s{0,3}\(\d/gm,
  },
  {
    id: 'path_traversal',
    severity: 'high',
    what: 'A path that leaves its folder for the system.',
    fix: 'Refuse the argument; have the server resolve paths below a root, links included.',
    on: 'plain',
    needs: ['..'],
    pattern:
      /\.\.[/\\]{1,3}(?:etc|proc|root|boot|sys|dev|windows|winnt|system32|users|home)(?=[/\\])|(?:\.\.[/\\]{1,3}){6}/g,
  },
  {
    id: 'sensitive_file',
    severity: 'high',
    what: 'A file that holds credentials.',
    fix: 'Refuse it, and give the server only the folders it needs.',
    on: 'plain',
    needs: [
      '.ssh/',
      '/etc/',
      '.aws/',
      'config/gcloud',
      '.kube/',
      '.git-credentials',
      '.netrc',
      'mcp.json',
      '/proc/',
      '.docker/',
    ],
    pattern:
      /\.ssh\/(?:id_(?:rsa|dsa|ecdsa|ed25519)(?!\.pub)|authorized_keys)\b|(?:^|[\s"'`:=(@/])\/?etc\/(?:shadow|gshadow|sudoers)\b|\.aws\/credentials\b|\.kube\/config\b|\.git-credentials\b|\.docker\/config\.json\b|(?:~|home\/[a-z0-9._-]{1,40})\/\.netrc\b|\/\.cursor\/mcp\.json\b|\/proc\/(?:self|\d{1,7})\/environ\b|\bgcloud\/application_default_credentials/g,
  },
  {
    id: 'ssrf_target',
    severity: 'high',
    what: 'An address that only the machine itself may ask: cloud metadata, or a scheme that reads local files.',
    fix: 'Refuse the argument; have the server connect only to public addresses.',
    on: 'plain',
    needs: ['metadata', '169.254', 'fd00:ec2', '100.100.100.200', 'gopher:', 'dict:', 'file:', 'a9fe'],
    pattern:
      /\bmetadata\.(?:google\.internal|azure\.com|goog)\b|\b169\.254\.169\.254\b|\b169\.254\.170\.2\b|\b100\.100\.100\.200\b|fd00:ec2::254|::ffff:a9fe:a9fe|\b(?:gopher|dict):\/\/[a-z0-9[]|\bfile:\/{2,3}(?:etc|proc|root|c:)\//g,
    // Documents that say an address is refused are the reason why it is.
    unless: /\b(?:blocks?|blocked|denies|denied|refuses|refused|rejects|not reachable|unreachable|filtered)\b/,
  },
  {
    id: 'script_injection',
    severity: 'high',
    what: 'Script that would run in a page which shows this text.',
    fix: 'Escape the text where it is shown, and refuse it here.',
    on: 'plain',
    needs: ['<script', 'javascript:', 'vbscript:', 'onerror', 'onload', '<svg', '<iframe', 'data:text/html'],
    pattern:
      /<script(?:\s[^<>\u0001]{0,60}|\/)?>[^<\u0001]{0,60}?(?:document\.|window\.|fetch\(|eval\(|alert\(|location|xmlhttp)|<script\s[^<>\u0001]{0,60}?src\s{0,3}=\s{0,3}["']?(?:https?:)?\/\/|\b(?:javascript|vbscript):(?:[a-z.]{1,40}\(|\/\/|void|eval)|<[a-z][^>\u0001]{0,80}?\son(?:error|load|click|mouseover|focus)\s{0,3}=\s{0,3}["']?[a-z.]{1,40}[(`=]|<iframe[^>\u0001]{0,60}?srcdoc|data:text\/html[;,]/g,
  },
  {
    id: 'template_injection',
    severity: 'high',
    what: 'An expression that a template engine or a logger would run.',
    fix: 'Refuse the argument; have the server never treat input as a template.',
    on: 'plain',
    needs: ['{{', '${', '<%', '__import__', '#{', '__class__'],
    pattern:
      /\$\{(?:jndi|[a-z]{1,12}:-?[a-z]{1,4}\}?)[^\n\u0001]{0,40}?(?:ldap|rmi|dns):|\{\{\s{0,5}(?:\d{1,4}\s{0,3}\*\s{0,3}\d|['"]{2}\.__class__|config\.|self\.__|request\.application|constructor\.constructor|cycler\.|lipsum\.)|<%=?\s{0,5}(?:system|exec|`|file\.open|require\()|__import__\(\s{0,3}['"](?:os|subprocess)|\.__class__\.__(?:mro|base|bases|subclasses)__|[$#]\{\s{0,3}(?:t\(java|\d{1,4}\s{0,2}\*\s{0,2}\d{1,4}\s{0,2}\}|java\.lang|process\.(?:env|mainmodule)|global\.process)/g,
  },
  {
    id: 'xml_external_entity',
    severity: 'high',
    what: 'An XML entity that reads a file or an address.',
    fix: 'Refuse it; have the server parse XML without entities.',
    on: 'plain',
    needs: ['<!entity'],
    pattern: /<!entity\s{1,5}[^>\u0001]{1,80}?(?:system|public)\s{1,5}["']/g,
  },
  {
    id: 'limiter_bypass',
    severity: 'high',
    what: 'Text that asks to get around limits.',
    fix: 'Raise the limit or the tier if the caller needs more; nothing in a call changes a limit.',
    on: 'plain',
    needs: ['bypass', 'disable', 'unlimited', 'override', 'limit', 'infinite', 'max requests', 'max_requests'],
    pattern:
      /\bbypass(?:ing)?[\s_-]{1,5}(?:the[\s_-]{1,5})?(?:rate[\s_-]{0,5}limit(?:s|ing|er)?|throttl(?:e|ing)|cost(?:s)?[\s_-]limit|budget)\b|\bdisable[\s_-]{1,5}(?:the[\s_-]{1,5})?(?:rate[\s_-]{0,5}limit(?:s|ing|er)?|throttling)\b|\b(?:grant|give|allow|enable|set|make|need|use)\s{1,5}(?:me\s{1,5}|us\s{1,5}|this client\s{1,5})?unlimited\s{1,5}requests\b|\boverride[\s_-]{1,5}(?:the[\s_-]{1,5})?(?:rate[\s_-]{0,5})?limits?\b|\bset[\s_-]{1,5}(?:rate[\s_-]{0,5})?limit\s{0,3}=\s{0,3}(?:0|-1|none|null)\b|\brate[\s_-]{0,5}limit[\s_-]{1,5}(?:disable|bypass)\b|\bthrottle[\s_-]{1,5}bypass\b|\bmax[\s_-]{1,5}requests\s{0,3}=\s{0,3}-1|\binfinite[\s_-]{1,5}limit\b|\b(?:mcp|endpoint|cost)[\s_-]bypass\b|\bprotocol[\s_-]override\b/g,
    unless: /\b(?:cannot|can not|can't|must not|never|no way to|nobody may|is refused)\b/,
  },
  {
    id: 'terminal_escape',
    severity: 'high',
    what: 'A control sequence that steers the terminal in which this text is shown.',
    fix: 'Remove control characters before showing the text.',
    on: 'raw',
    needs: ['\u001b', '\u009b', '\u009d', '\u0090'],
    pattern: /\u001b[[\]PX^_()#78cDEHM]|[\u009b\u009d\u0090]/g,
  },
];
