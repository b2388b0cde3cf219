import { testHostileLayers } from '../suites/hostile-layers.js';
import { testLayerForm } from '../suites/layer-form.js';

testLayerForm('image');
testLayerForm('directory');
testHostileLayers('image');
testHostileLayers('directory');
