{
  'variables': {
    'openssl_fips': '',
  },
  'target_defaults': {
    'cflags_cc!': ['-std=gnu++17', '-std=gnu++20', '-fno-rtti', '-fexceptions'],
    'cflags_cc': ['-std=c++20', '-fno-exceptions', '-Wall', '-Wextra', '-Werror', '-fvisibility=hidden'],
    'cflags!': ['-Wno-unused-parameter'],
    'cflags_cc+': ['-Wunused-parameter'],
    'include_dirs': ['native'],
    'defines': ['_GNU_SOURCE', '_FILE_OFFSET_BITS=64'],
  },
  'targets': [
    {
      # One kernel concept a file; no N-API, no exceptions, no threads of its own. Used by both programs below.
      'target_name': 'kernel',
      'type': 'static_library',
      'sources': ['<!@(ls native/kernel/*.cc)'],
      'cflags': ['-fPIC'],
    },
    {
      'target_name': 'cais',
      'type': 'loadable_module',
      'sources': ['<!@(ls native/addon/*.cc native/layer/*.cc)'],
      'include_dirs': ["<!(node -p \"require('node-addon-api').include_dir\")"],
      'dependencies': ['kernel'],
      'defines': ['NAPI_VERSION=9', 'NODE_ADDON_API_DISABLE_DEPRECATED', 'NAPI_DISABLE_CPP_EXCEPTIONS', 'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS'],
      # libseccomp is linked statically, so that a prebuilt addon needs nothing of the host.
      'libraries': ['-l:libseccomp.a'],
      'ldflags': ['-Wl,--exclude-libs,ALL'],
    },
    {
      'target_name': 'cais-supervisor',
      'type': 'executable',
      'sources': ['<!@(ls native/supervisor/*.cc)'],
      'dependencies': ['kernel'],
      'cflags': ['-fno-pie', '-Os', '-ffunction-sections', '-fdata-sections'],
      'ldflags!': ['-rdynamic'],
      'ldflags': ['-static', '-no-pie', '-Wl,--gc-sections'],
    },
  ],
}
