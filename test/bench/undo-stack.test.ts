import { describe, expect, test } from 'vitest';
import { InterruptedError, UndoStack } from '../../bench/undo-stack.mjs';

describe('UndoStack', () => {
  test('closes what stands, newest first, and each once', async () => {
    const undo = new UndoStack();
    const closed: string[] = [];
    const open = (name: string) =>
      undo.open(async () => ({ close: async () => void closed.push(name) }));
    await open('disk');
    const gone = await open('gone');
    await open('place');
    await gone.close();
    expect(await undo.closeAll()).toEqual([]);
    await gone.close();
    expect(closed).toEqual(['gone', 'place', 'disk']);
  });

  test('goes on when something cannot be closed, and tells', async () => {
    const undo = new UndoStack();
    let closed = false;
    await undo.open(async () => ({
      close: () => {
        closed = true;
      },
    }));
    await undo.open(async () => ({ close: () => Promise.reject(new Error('busy')) }));
    expect((await undo.closeAll()).map(({ message }) => message)).toEqual(['busy']);
    expect(closed).toBe(true);
  });

  test('closes what was being opened when the end came, and opens nothing more', async () => {
    const undo = new UndoStack();
    let closed = false;
    let finish = () => {};
    const opening = undo.open(async () => {
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      return {
        close: () => {
          closed = true;
        },
      };
    });
    const outcome = expect(opening).rejects.toThrow(InterruptedError);
    const all = undo.closeAll();
    finish();
    await all;
    await outcome;
    expect(closed).toBe(true);
    await expect(undo.open(async () => ({ close: () => {} }))).rejects.toThrow(InterruptedError);
  });

  test('has nothing to close after an opening that failed', async () => {
    const undo = new UndoStack();
    await expect(undo.open(() => Promise.reject(new Error('no space')))).rejects.toThrow(
      'no space',
    );
    expect(await undo.closeAll()).toEqual([]);
  });
});
