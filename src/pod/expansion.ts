/**
 * Replaces `$(NAME)` by what `lookup` knows; an unknown name stays as written, `$$` gives `$`, and what was put in is not scanned again.
 * @see contracts/kubernetes-semantics.md F18 to F24
 */
export function expandVariables(
  text: string,
  lookup: (name: string) => string | undefined,
): string {
  let result = '';
  for (let index = 0; index < text.length; index += 1) {
    const character = text.charAt(index);
    const next = text.charAt(index + 1);
    if (character !== '$' || next === '') {
      result += character;
    } else if (next === '$') {
      result += '$';
      index += 1;
    } else if (next === '(') {
      const end = text.indexOf(')', index + 2);
      // An unclosed "$(" is text; what follows is scanned as usual.
      const name = end === -1 ? undefined : text.slice(index + 2, end);
      result += name === undefined ? '$(' : (lookup(name) ?? `$(${name})`);
      index = end === -1 ? index + 1 : end;
    } else {
      result += character + next;
      index += 1;
    }
  }
  return result;
}
