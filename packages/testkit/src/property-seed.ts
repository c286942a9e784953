import fc from 'fast-check';

/**
 * One seed for every property in a usual run, so that a change is judged by its own faults and not by which programs
 * chance found that day. `npm run proof` draws new ones, many more of them.
 */
if (process.env['TOLLGATE_PROOF'] !== 'full') fc.configureGlobal({ seed: 20_261_121 });
