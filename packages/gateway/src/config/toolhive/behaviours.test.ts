import { toolhiveBehaviours } from './behaviours.ts';
import { inMemory } from './testing.ts';

toolhiveBehaviours('in memory', inMemory);
