/** What a caller may ask of a handler. @see CRI, RuntimeHandlerFeatures */
export interface RuntimeFeatures {
  /** Read-only mounts whose sub-mounts are read-only too. */
  readonly recursiveReadOnlyMounts: boolean;
  /** Pods with a user namespace of their own. */
  readonly userNamespaces: boolean;
}

/** Of a runtime that does not say: what nobody promises, nobody relies on. */
export const NO_FEATURES: RuntimeFeatures = {
  recursiveReadOnlyMounts: false,
  userNamespaces: false,
};

/**
 * Reads what an OCI runtime says about itself; text that is something else says nothing. User namespaces are never among it: cais makes those
 * of its own sandboxes only for the native way.
 * @see OCI runtime-spec, features.md
 */
export function parseFeatures(text: string): RuntimeFeatures {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return NO_FEATURES;
  }
  if (typeof parsed !== 'object' || parsed === null) return NO_FEATURES;
  const { mountOptions } = parsed as { readonly mountOptions?: unknown };
  return {
    recursiveReadOnlyMounts: Array.isArray(mountOptions) && mountOptions.includes('rro'),
    userNamespaces: false,
  };
}
