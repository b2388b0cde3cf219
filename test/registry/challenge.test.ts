import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseChallenges } from '../../src/registry/challenge.js';

function parsed(header: string) {
  return parseChallenges(header).map(({ scheme, parameters }) => [
    scheme,
    Object.fromEntries(parameters),
  ]);
}

describe('parseChallenges()', () => {
  it('reads a bearer challenge with commas inside quotes', () => {
    expect(
      parsed(
        'Bearer realm="https://auth.example/t",service="reg",scope="repository:a/b:pull,push"',
      ),
    ).toEqual([
      [
        'bearer',
        { realm: 'https://auth.example/t', service: 'reg', scope: 'repository:a/b:pull,push' },
      ],
    ]);
  });

  it('reads several challenges in one header', () => {
    expect(
      parsed('Negotiate, NTLM TlRMTVNTUAAB=, BASIC realm="x" , Bearer realm=https://a/t'),
    ).toEqual([
      ['negotiate', {}],
      ['ntlm', {}],
      ['basic', { realm: 'x' }],
      ['bearer', { realm: 'https://a/t' }],
    ]);
  });

  it('keeps the first of a repeated parameter and resolves escapes', () => {
    expect(parsed('Basic realm="a\\"b", Realm="c"')).toEqual([['basic', { realm: 'a"b' }]]);
  });

  it('never throws and never takes long', () => {
    const pieces = fc.constantFrom(
      'Bearer',
      'realm',
      '=',
      '"',
      ',',
      ' ',
      '\\',
      'a',
      '\t',
      '\n',
      'é',
    );
    const headers = fc.oneof(
      fc.string(),
      fc.array(pieces, { maxLength: 300 }).map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(headers, (header) => {
        expect(parseChallenges(header)).toBeInstanceOf(Array);
      }),
    );
    parseChallenges(`Bearer ${'a='.repeat(1_000_000)}`);
    parseChallenges(`Bearer a="${'\\'.repeat(1_000_000)}`);
  });

  it('reads back what is written by the grammar', () => {
    const token = fc.stringMatching(/^[A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]{0,10}$/);
    const challenge = fc.record({
      scheme: token,
      parameters: fc.uniqueArray(fc.tuple(token, fc.string()), {
        minLength: 1,
        maxLength: 4,
        selector: ([key]) => key.toLowerCase(),
      }),
    });
    fc.assert(
      fc.property(fc.array(challenge, { maxLength: 4 }), (challenges) => {
        const header = challenges
          .map(({ scheme, parameters }) => {
            const list = parameters.map(
              ([key, value]) => `${key}="${value.replace(/["\\]/g, '\\$&')}"`,
            );
            return `${scheme} ${list.join(', ')}`;
          })
          .join(', ');
        expect(parsed(header)).toEqual(
          challenges.map(({ scheme, parameters }) => [
            scheme.toLowerCase(),
            Object.fromEntries(parameters.map(([key, value]) => [key.toLowerCase(), value])),
          ]),
        );
      }),
    );
  });
});
