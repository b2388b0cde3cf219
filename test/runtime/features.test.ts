import { describe, expect, it } from 'vitest';
import { nativeFeatures } from '../../src/runtime/features.js';

describe('nativeFeatures()', () => {
  it.each(['5.14.0', '6.1.0-18-amd64', '6.14.9', 'unknown', ''])(
    'has no user namespaces on Linux %s',
    async (kernel) => {
      expect(await nativeFeatures(kernel)).toMatchObject({
        userNamespaces: false,
        userNamespacesHostNetwork: false,
        recursiveReadOnlyMounts: true,
      });
    },
  );
});
