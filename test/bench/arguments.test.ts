import { describe, expect, test } from 'vitest';
import { parseArguments, UsageError } from '../../bench/arguments.mjs';

describe('parseArguments()', () => {
  test('asks everything of everybody by default', () => {
    expect(parseArguments([])).toEqual({
      questions: ['extract', 'pull'],
      workloads: ['debian', 'app', 'big'],
      compressions: ['gzip', 'zstd'],
      rounds: 5,
      isQuick: false,
      peers: undefined,
      install: false,
      peerRoot: undefined,
      jsonPath: undefined,
      help: false,
    });
  });

  test('takes three rounds of two workloads with --quick, unless told otherwise', () => {
    expect(parseArguments(['extract', '--quick'])).toMatchObject({
      questions: ['extract'],
      workloads: ['debian', 'app'],
      rounds: 3,
    });
    expect(parseArguments(['--quick', '--rounds', '1', '--workloads', 'big'])).toMatchObject({
      workloads: ['big'],
      rounds: 1,
    });
  });

  test('reads lists and paths', () => {
    const args = ['pull', '--peers', 'containerd,podman', '--peer-root', '/srv/sid'];
    expect(parseArguments([...args, '--json', 'out.json', '--install-peers'])).toMatchObject({
      peers: ['containerd', 'podman'],
      peerRoot: '/srv/sid',
      jsonPath: 'out.json',
      install: true,
    });
  });

  test.each([
    [['start'], 'Unknown question "start": expected extract, pull'],
    [['--workloads', 'debain'], 'Unknown workload "debain"'],
    [['--compressions', 'xz'], 'Unknown compression "xz"'],
    [['--rounds', '0'], 'received "0"'],
    [['--rounds', 'many'], 'received "many"'],
    [['--fast'], '--fast'],
    [['--peers', ','], 'empty'],
  ])('refuses %j', (args, message) => {
    expect(() => parseArguments(args)).toThrow(UsageError);
    expect(() => parseArguments(args)).toThrow(message);
  });
});
