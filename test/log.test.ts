import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Credential } from '../src/auth/credential.js';
import { NotFoundError } from '../src/errors.js';
import { openLog } from '../src/log.js';

it('writes a line of JSON for each event, without secrets', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'cais-log-'));
  const path = join(directory, 'log');
  const fd = openSync(path, 'w');
  try {
    const log = await openLog({ level: 'info', fd });
    log.debug({}, 'not shown');
    log.info({ socket: '/run/x', auth: { password: 'hunter2' } }, 'serving');
    log.warn(
      { request: { auth: { identityToken: 'hunter2' } }, password: 'hunter2' },
      'two\nlines',
    );
    const credential = Credential.password('u', 'hunter2', 'a file');
    log.error(
      { error: new NotFoundError('no image', { cause: new Error('404') }), credential },
      'failed',
    );
    log.flush();
    const text = readFileSync(path, 'utf8');
    expect(text).not.toContain('hunter2');
    const lines = text.trimEnd().split('\n');
    const [info, warn, error] = lines.map((line) => JSON.parse(line));
    expect(lines).toHaveLength(3);
    expect(info).toMatchObject({
      level: 'info',
      message: 'serving',
      pid: process.pid,
      socket: '/run/x',
    });
    expect(Date.parse(info.time)).toBeGreaterThan(1.7e12);
    expect(warn).toMatchObject({ level: 'warn', message: 'two\nlines' });
    expect(error.error).toMatchObject({ message: 'no image: 404', code: 'NOT_FOUND' });
    expect(error.error.stack).toContain('log.test');
  } finally {
    closeSync(fd);
    rmSync(directory, { recursive: true, force: true });
  }
});
