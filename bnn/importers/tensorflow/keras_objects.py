# SPDX-License-Identifier: Apache-2.0
"""The objects that a Keras file may name: an allow list, and the lookup that finds them without importing anything.

Keras looks a name up in several places: registered objects, its table of public names, the module that the file names
(which it may import), and the namespace of the part that asks.  A check of names alone has holes wherever these places
disagree.  So a name is looked up here in the same places, and the *object* that is found must be on the list.  A new
layer of Keras is refused until somebody has read what it does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

# Values that are written as an entry, and made without a class.
VALUES = frozenset({"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"})

# By the namespace, below `keras`, that has them in some version.  Left out are objects that read files, run other
# models, or call any function or method (TFSMLayer, DenseFeatures, JaxLayer, GPTQConfig, MeanMetricWrapper, ...).
_CLASSES = {
    "layers": """
        Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
        AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention
        AugMix AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization Bidirectional
        CategoryEncoding CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose
        ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D CutMix Dense DepthwiseConv1D DepthwiseConv2D
        Discretization Dot Dropout ELU EinsumDense Embedding Equalization Flatten GRU GRUCell GaussianDropout
        GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D
        GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization GroupQueryAttention HashedCrossing Hashing Identity
        InputLayer IntegerLookup LSTM LSTMCell Lambda LayerNormalization LeakyReLU LocallyConnected1D
        LocallyConnected2D Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MixUp MultiHeadAttention
        Multiply Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness
        RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform RandomErasing
        RandomFlip RandomGaussianBlur RandomGrayscale RandomHeight RandomHue RandomInvert RandomPerspective
        RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation RandomWidth
        RandomZoom ReLU RepeatVector Rescaling Reshape Resizing SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell
        Softmax Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells
        StringLookup Subtract TextVectorization ThresholdedReLU TimeDistributed UnitNormalization UpSampling1D
        UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
        experimental.EinsumDense experimental.RandomFourierFeatures experimental.SyncBatchNormalization
    """,
    "models": "Model Sequential",
    "initializers": """
        Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal LecunUniform
        Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform STFT STFTInitializer TruncatedNormal
        VarianceScaling Zeros
    """,
    "regularizers": "L1 L1L2 L2 OrthogonalRegularizer",
    "constraints": "MaxNorm MinMaxNorm NonNeg RadialConstraint UnitNorm",
    # A model within a model brings what it was trained with.
    "losses": """
        BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy CategoricalFocalCrossentropy
        CategoricalGeneralizedCrossEntropy CategoricalHinge Circle CosineSimilarity Dice Hinge Huber KLDivergence
        LogCosh MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
        SparseCategoricalCrossentropy SquaredHinge Tversky
    """,
    "metrics": """
        AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy CategoricalCrossentropy
        CategoricalHinge CosineSimilarity F1Score FBetaScore FalseNegatives FalsePositives Hinge IoU KLDivergence
        LogCoshError Mean MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanSquaredError
        MeanSquaredLogarithmicError OneHotIoU OneHotMeanIoU Poisson Precision PrecisionAtRecall R2Score Recall
        RecallAtPrecision RootMeanSquaredError SensitivityAtSpecificity SparseCategoricalAccuracy
        SparseCategoricalCrossentropy SparseTopKCategoricalAccuracy SpecificityAtSensitivity SquaredHinge Sum
        TopKCategoricalAccuracy TrueNegatives TruePositives
    """,
    "optimizers": """
        Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion Muon Nadam RMSprop SGD
        schedules.CosineDecay schedules.CosineDecayRestarts schedules.ExponentialDecay schedules.InverseTimeDecay
        schedules.PiecewiseConstantDecay schedules.PolynomialDecay legacy.Adadelta legacy.Adagrad legacy.Adam
        legacy.Adamax legacy.Ftrl legacy.Nadam legacy.RMSprop legacy.SGD
    """,
    "mixed_precision": "LossScaleOptimizer Policy",
    "dtype_policies": "DTypePolicy DTypePolicyMap FloatDTypePolicy QuantizedDTypePolicy QuantizedFloat8DTypePolicy",
    "quantizers": "AbsMaxQuantizer",
}  # fmt: skip
# By the end of the module's name; these have no public names.  Operations of Keras 3 call no function that they are
# given, and those that only make constants are left out.
_INTERNAL = {
    "engine.functional": "Functional",
    "models.functional": "Functional",
    "layers.core.tf_op_layer": "SlicingOpLambda TFOpLambda",
    "layers.normalization.batch_normalization_v1": "BatchNormalization",
    "ops.core": "Cast SaturateCast Scatter ScatterUpdate Slice SliceUpdate StopGradient Unstack",
    "ops.einops": "Rearrange",
    "ops.image": "CropImages ExtractPatches HSVToRGB PadImages RGBToGrayscale RGBToHSV Resize",
    "ops.linalg": "Cholesky Det Inv Norm Qr SVD Solve SolveTriangular",
    "ops.math": "Erf Erfc Erfinv Logsumexp Rsqrt SegmentMax SegmentSum TopK",
    "ops.nn": """
        AveragePool BatchNorm Celu Conv ConvTranspose DepthToSpace DepthwiseConv DotProductAttention Elu Gelu Glu
        HardShrink HardSigmoid HardSilu HardTanh LayerNorm LeakyRelu LogSigmoid LogSoftmax MaxPool Moments MultiHot
        Normalize OneHot RMSNorm Relu Relu6 Selu SeparableConv Sigmoid Silu SoftShrink Softmax Softplus Softsign
        SpaceToDepth SparsePlus SparseSigmoid Sparsemax Squareplus TanhShrink Threshold
    """,
    "ops.numpy": """
        Abs Absolute Add All Amax Amin Angle Any Append Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh
        Argmax Argmin Argpartition Argsort ArraySplit Average Bincount BitwiseAnd BitwiseInvert BitwiseLeftShift
        BitwiseNot BitwiseOr BitwiseRightShift BitwiseXor BroadcastTo Cbrt Ceil Clip Concatenate Conj Conjugate Copy
        Correlate Cos Cosh CountNonzero Cross Cumprod Cumsum Deg2rad Diag Diagonal Diff Digitize Divide DivideNoNan Dot
        Einsum Equal Exp Exp2 ExpandDims Expm1 Flip Floor FloorDivide FullLike GetItem Greater GreaterEqual Heaviside
        Hstack Hypot Imag Inner Isclose Isfinite Isinf Isnan LeftShift Less LessEqual Log Log10 Log1p Log2 Logaddexp
        LogicalAnd LogicalNot LogicalOr LogicalXor Matmul Max Maximum Mean Median Meshgrid Min Minimum Mod Moveaxis
        Multiply NanToNum Ndim Negative Nonzero NotEqual OnesLike Outer Pad Power Prod Quantile Rad2deg Ravel Real
        Reciprocal Repeat Reshape RightShift Roll Rot90 Round SearchSorted Select Sign Signbit Sin Sinh Size Sort Split
        Sqrt Square Squeeze Stack Std Subtract Sum Swapaxes Take TakeAlongAxis Tan Tanh Tensordot Tile Trace Transpose
        Tril Triu TrueDivide Trunc Vdot Var Vstack Where ZerosLike
    """,
}  # fmt: skip
_FUNCTIONS = {
    "activations": """
        celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear
        log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus
        sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink threshold
    """,
    "losses": """
        binary_crossentropy binary_focal_crossentropy categorical_crossentropy categorical_focal_crossentropy
        categorical_generalized_cross_entropy categorical_hinge circle cosine_similarity ctc dice hinge huber
        kl_divergence log_cosh mean_absolute_error mean_absolute_percentage_error mean_squared_error
        mean_squared_logarithmic_error poisson sparse_categorical_crossentropy squared_hinge tversky
    """,
    "metrics": """
        binary_accuracy binary_crossentropy binary_focal_crossentropy categorical_accuracy categorical_crossentropy
        categorical_focal_crossentropy categorical_hinge hinge huber kl_divergence log_cosh mean_absolute_error
        mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error poisson
        sparse_categorical_accuracy sparse_categorical_crossentropy sparse_top_k_categorical_accuracy squared_hinge
        top_k_categorical_accuracy
    """,
}  # fmt: skip
# Names that only files have, and texts in them: activation="silu", kernel_initializer="normal".
_OLDER_CLASSES = "BatchNormalizationV1 BatchNormalizationV2"
_OLDER_TEXTS = "l1_l2 leaky_relu log_softmax normal one relu6 silu uniform zero"
_TEXT_GROUPS = ("activations", "constraints", "initializers", "layers", "regularizers")


class KerasObjects:
    """The objects on the list, as one Keras has them; ``keras``: the module that loads the file."""

    def __init__(self, keras: Any) -> None:
        self._registered = keras.saving.get_registered_object
        self.package = keras.layers.Layer.__module__.partition(".")[0]
        self._symbol = _public_symbols(self.package)
        internal = [
            vars(module).get(name)
            for end, names in _INTERNAL.items()
            for module in self._modules(end)
            for name in names.split()
        ]
        self.classes = [found for found in (*_public(keras, _CLASSES), *internal) if isinstance(found, type)]
        self.functions = [found for found in _public(keras, _FUNCTIONS) if callable(found)]
        self._classes, self._functions = {*map(id, self.classes)}, {*map(id, self.functions)}
        known = self._classes | self._functions
        # An object's other public names are known, too: Convolution2D, glorot_uniform, l2.
        spaces = {group: getattr(_attribute(keras, group), "__dict__", {}) for group in (*_CLASSES, *_FUNCTIONS)}
        aliases = {group: {n: v for n, v in space.items() if id(v) in known} for group, space in spaces.items()}
        named = {n for space in aliases.values() for n, v in space.items() if isinstance(v, type)}
        self.class_names = {c.__name__ for c in self.classes} | named | {*_OLDER_CLASSES.split()}
        self.texts = {*_OLDER_TEXTS.split()}.union(*(aliases[group] for group in _TEXT_GROUPS))

    def registered(self, name: Any) -> Any:
        """The object that the program, or an imported library such as Larq, has registered under a name, or None."""
        return self._registered(name) if isinstance(name, str) else None

    def has_class(self, name: str, module: Any) -> bool:
        """Whether a class is on the list; without a module, Keras looks in the namespace of the part that asks."""
        if name not in self.class_names:
            return False
        return module is None or id(self.found(module, name)) in self._classes

    def has_function(self, name: str, module: Any) -> bool:
        if module == "builtins":  # Keras writes it for functions of its own
            found = next(filter(None, (self._symbol(f"keras.{group}.{name}") for group in _FUNCTIONS)), None)
        else:
            found = self.found(module, name)
        return name.isidentifier() and id(found) in self._functions

    def found(self, module: Any, name: str) -> Any:
        """The object of a module of Keras, or None: in the table of public names, or else in the module itself."""
        if not isinstance(module, str) or not name.isidentifier() or "__internal__" in module:
            return None
        top, _, rest = module.partition(".")
        if top not in ("keras", self.package):
            return None
        public = self._symbol(f"{module}.{name}")
        own = sys.modules.get(f"{self.package}.{rest}".rstrip("."))
        return public if public is not None else getattr(own, "__dict__", {}).get(name)

    def _modules(self, end: str) -> Iterator[ModuleType]:
        for middle in (".src.", "."):
            module = sys.modules.get(f"{self.package}{middle}{end}")
            if module is not None:
                yield module


def _public(keras: Any, groups: dict[str, str]) -> Iterator[Any]:
    for group, names in groups.items():
        for name in names.split():
            yield _attribute(keras, f"{group}.{name}")


def _attribute(of: Any, name: str) -> Any:
    for part in name.split("."):
        of = getattr(of, part, None)
    return of


def _public_symbols(package: str) -> Any:
    """Keras' own table of its public names, {"keras.layers.Dense": ...}.get."""
    newer = sys.modules.get(f"{package}.src.api_export")
    older = sys.modules.get("tensorflow.python.util.tf_export")
    table = newer if hasattr(newer, "get_symbol_from_name") else older
    return getattr(table, "get_symbol_from_name", lambda name: None)
