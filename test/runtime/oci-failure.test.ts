import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { explainRuntimeFailure } from '../../src/runtime/oci-failure.js';

const fail = (message: string) =>
  explainRuntimeFailure({ step: 'runtime', errno: 0, path: '/usr/sbin/runc', message });
const line = (level: string, msg: string) => JSON.stringify({ level, msg, time: 'now' });

describe('explainRuntimeFailure()', () => {
  it.each([
    [
      'runc create failed: unable to start container process: exec: "foo": executable file not found in $PATH',
      { step: 'exec', errno: 2, path: 'foo' },
    ],
    [
      'runc create failed: unable to start container process: exec: "/bin/foo": stat /bin/foo: no such file or directory',
      { step: 'exec', errno: 2, path: '/bin/foo' },
    ],
    ['exec: "/etc/passwd": permission denied', { step: 'exec', errno: 13, path: '/etc/passwd' }],
    [
      'executable file `foo` not found in $PATH: No such file or directory',
      { step: 'exec', errno: 2, path: 'foo' },
    ],
  ])('sees that the program is at fault in %s', (msg, expected) => {
    expect(fail(line('error', msg))).toMatchObject(expected);
  });

  it('tells the last error of a log, with the name of the runtime', () => {
    const log = [line('error', 'first'), line('error', 'second'), line('warning', 'third')];
    expect(fail(log.join('\n'))).toEqual({
      step: 'runtime',
      errno: 0,
      path: '',
      message: '"/usr/sbin/runc" says: second',
    });
  });

  it('tells the last line of a text that is no log', () => {
    expect(fail('a\nb\n\n').message).toBe('"/usr/sbin/runc" says: b');
    expect(fail(' \n').message).toBe('"/usr/sbin/runc" says: nothing');
  });

  it('leaves the failures of other steps alone', () => {
    const failed = { step: 'mount', errno: 2, path: '/x', message: 'exec: "a": permission denied' };
    expect(explainRuntimeFailure(failed)).toBe(failed);
  });

  it('stays bounded, and fails for no output whatever', () => {
    const json = fc.json().map((text) => `{"level":"error","msg":${text}}`);
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), json, fc.json()), (text) => {
        expect(fail(text).message.length).toBeLessThan(2100);
      }),
    );
    expect(fail(line('error', 'x'.repeat(100_000))).message.length).toBeLessThan(2100);
  });
});
