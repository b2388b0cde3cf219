const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const QUALIFIED = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;

/** What is wrong with a DNS-1123 label (container, volume, namespace, host names), or undefined. */
export function labelProblem(text: string): string | undefined {
  if (text.length > 63) return 'must be no more than 63 characters';
  if (LABEL.test(text)) return undefined;
  return "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
}

/** What is wrong with a DNS-1123 subdomain (pod names), or undefined. */
export function subdomainProblem(text: string): string | undefined {
  if (text.length > 253) return 'must be no more than 253 characters';
  if (SUBDOMAIN.test(text)) return undefined;
  return "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
}

/** What is wrong with the key of a label or annotation, or undefined. */
export function qualifiedNameProblem(text: string): string | undefined {
  const parts = text.split('/');
  const name = parts.pop() ?? '';
  if (parts.length > 1) return "must be a name with an optional DNS prefix and '/'";
  const prefix = parts[0];
  if (prefix !== undefined && subdomainProblem(prefix) !== undefined) {
    return 'prefix part must be a lowercase RFC 1123 subdomain';
  }
  if (name.length > 63) return 'name part must be no more than 63 characters';
  if (QUALIFIED.test(name)) return undefined;
  return "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
}

/** What is wrong with the value of a label, or undefined. */
export function labelValueProblem(text: string): string | undefined {
  if (text.length > 63) return 'must be no more than 63 characters';
  if (text === '' || QUALIFIED.test(text)) return undefined;
  return "a valid label value must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
}

/** What is wrong with the name of an environment variable (printable ASCII except `=`), or undefined. */
export function environmentNameProblem(text: string): string | undefined {
  if (/^[\x20-\x3c\x3e-\x7e]+$/.test(text)) return undefined;
  return "a valid environment variable name must consist only of printable ASCII characters other than '='";
}
